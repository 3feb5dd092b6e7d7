"""Units that no row activates."""

from __future__ import annotations

import pytest
import torch
from plain_forward import CODINGS, IMAGE_LAYERS, LABELS, UNITS, WIDTH, make_network, make_rows, plain_inputs, seeded


@pytest.mark.parametrize("coding", CODINGS)
def test_a_unit_without_weights_is_dead(coding):
    network = make_network(coding)
    before = network.dead_units(make_rows(200))
    network.layers[0].weight[3] = 0
    assert before == [0, 0]
    assert network.dead_units(make_rows(200))[0] == 1


@pytest.mark.parametrize("coding", CODINGS)
def test_dead_units_are_counted_in_each_layer(coding):
    network = make_network(coding)
    network.layers[1].weight[2:5] = 0
    assert network.dead_units(make_rows(200)) == [0, 3]


@pytest.mark.parametrize("coding", CODINGS)
def test_dead_units_are_those_that_centred_rows_leave_silent(coding):
    network, rows = make_network(coding), make_rows(2)
    for centre in (network.centre, network.layers[0].running.centre):
        centre.uniform_(-1, 1, generator=seeded())
    silent = torch.ones(2, UNITS, dtype=torch.bool)
    for label in range(LABELS):
        for i, x in enumerate(plain_inputs(network, rows, label)[:2]):
            silent[i] &= (x @ network.layers[i].weight.T <= 0).all(0)
    assert network.dead_units(rows) == silent.sum(1).tolist()
    assert silent.any()


def test_a_unit_that_one_row_activates_is_alive():
    network = make_network("disjoint")
    network.layers[0].weight[0] = torch.eye(WIDTH)[0]
    network.layers[0].weight[1:] = 0
    rows = -torch.ones(5, WIDTH)
    assert network.dead_units(rows)[0] == UNITS
    rows[4, 0] = 1
    assert network.dead_units(rows)[0] == UNITS - 1


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize(("kind", "expected"), [("convolution", 1), ("local", 4)])
def test_the_channels_of_a_convolution_and_the_units_of_every_place_are_counted(kind, expected, pool):
    layer = {"kind": kind, "units": 6, "kernel": 2, "pool": pool}
    network = make_network("disjoint", shape=(3, 3), layers=(layer, {"units": UNITS}))
    # One channel, or the same unit at all four places.
    network.layers[0].weight[2::6] = 0
    assert network.dead_units(make_rows(400))[0] == expected


def test_looking_goes_through_every_layer_and_learns_nothing():
    network, rows = make_network("disjoint", shape=(3, 3), layers=IMAGE_LAYERS), make_rows(5)
    before = {name: tensor.clone() for name, tensor in network.state().items()}
    looked = list(network.look(rows))
    torch.testing.assert_close(torch.stack([goodness for goodness, _ in looked], 1), network.sweep(rows).goodness)
    assert [activities.shape for _, activities in looked] == [(5, 1, 4 * 4 * 6), (5, 1, 5)]
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state().items())
