"""Layers are those that the configuration describes."""

from __future__ import annotations

import pytest
import torch
from plain_forward import make_network, make_rows

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.activations import ACTIVATIONS
from ffstream.ff.connections import Convolution, Dense, Local
from ffstream.ff.criteria import AgainstLabels, against_threshold
from ffstream.ff.goodness import Mean, Ratio, TopK
from ffstream.ff.network import Network

STATED = {
    "activation": "tanh",
    "goodness": "topk",
    "top_share": 0.25,
    "against": "labels",
    "threshold": -1.5,
    "temperature": 5.0,
}
CONVOLUTION = {"kind": "convolution", "units": 8, "kernel": 3, "padding": 1, "pool": 2, "regions": 2}


def make(**network: object) -> Network:
    values = {"shape": (2, 4, 4), "labels": 4, "precision": "float32", "coding": "overlay", **network}
    return Network(NetworkConfig(**values), OptimizerConfig(), torch.device("cpu"))


def test_a_layer_is_as_the_network_says_but_for_what_it_states_itself():
    layers = [{"units": 6, **STATED}, {"units": 5}]
    first, second = make(layers=layers, activation="gelu", threshold=2.0, smoothing=0.1).layers
    assert first.form.activation is ACTIVATIONS["tanh"]
    assert first.form.goodness == TopK(5.0, 0.25)
    assert first.form.criterion == AgainstLabels(0.1)
    assert first.form.threshold == -1.5
    assert second.form.activation is ACTIVATIONS["gelu"]
    assert second.form.goodness.read(torch.ones(1, 4, 1, 1, 5), second.form.coding.pool()).flatten().tolist() == [8] * 4
    assert second.form.criterion is against_threshold
    assert second.form.threshold == 2.0


@pytest.mark.parametrize(
    ("layer", "connection", "weight", "onward"),
    [
        ({"units": 6}, Dense, (6, 32), 6),
        ({**CONVOLUTION}, Convolution, (8, 18), 2 * 2 * 8),
        ({"kind": "local", "units": 3, "kernel": 2}, Local, (3 * 3 * 3, 8), 27),
        ({"kind": "local", "units": 3, "kernel": 2, "stride": 2, "padding": 1}, Local, (3 * 3 * 3, 8), 27),
        ({"kind": "local", "units": 5, "kernel": 1, "pool": 2}, Local, (4 * 4 * 5, 2), 20),
    ],
    ids=str,
)
def test_a_layer_has_the_weights_and_outputs_of_its_kind(layer, connection, weight, onward):
    made, above = make(layers=[layer, {"units": 7}]).layers
    assert isinstance(made.connection, connection)
    assert made.weight.shape == weight
    assert made.onward == onward
    assert above.weight.shape == (7, onward)


@pytest.mark.parametrize(
    ("keys", "temperature"),
    [
        ({"layers": [{"units": 6}]}, 6),
        ({"layers": [CONVOLUTION]}, 8 * 4),
        ({"layers": [{**CONVOLUTION, "regions": 0}]}, 8),
        ({"layers": [{**CONVOLUTION, "regions": 1}]}, 8 * 16),
        ({"layers": [{"units": 6}], "goodness": "ratio"}, 3),
        ({"layers": [{"units": 11}], "coding": "assembly"}, 2),
        ({"layers": [{"units": 10}], "coding": "assembly", "assemblies": "random", "assembly_share": 0.5}, 5),
        ({"layers": [{"units": 10}], "coding": "assembly", "assemblies": "learned"}, 10),
    ],
    ids=str,
)
def test_width_makes_goodness_the_sum_over_what_counts_for_a_label(keys, temperature):
    (layer,) = make(temperature="width", threshold="width", **keys).layers
    assert layer.form.goodness.temperature == temperature
    assert layer.form.threshold == temperature


@pytest.mark.parametrize(("threshold", "expected"), [("width", -3.0), (2.0, -2.0)])
def test_minimised_goodness_is_below_zero_and_so_is_its_threshold(threshold, expected):
    (layer,) = make(layers=[{"units": 6}], goodness="minimised", temperature=3.0, threshold=threshold).layers
    assert isinstance(layer.form.goodness, Mean)
    assert layer.form.goodness.temperature == -3.0
    assert layer.form.threshold == expected


def test_under_ratio_the_first_half_of_the_units_is_positive_where_labels_own_none():
    (layer,) = make(layers=[{"units": 7}], goodness="ratio").layers
    assert isinstance(layer.form.goodness, Ratio)
    assert layer.form.coding.pool().owned().tolist() == [[True] * 3 + [False] * 4]


@pytest.mark.parametrize("kind", ["dense", "local", "convolution"])
def test_the_first_weights_keep_a_normalised_row_at_unit_scale(kind):
    network = make(
        shape=(9, 20, 20), layers=[{"kind": kind, "units": 400, **({"kernel": 5} if kind != "dense" else {})}]
    )
    weight = network.layers[0].weight
    assert float(weight.std() * weight.shape[1] ** 0.5) == pytest.approx(1, abs=0.02)


def test_layers_stack_through_every_kind():
    layers = [CONVOLUTION, {"kind": "local", "units": 3, "kernel": 2}, {"units": 6}, {"units": 5}]
    network = make(layers=layers)
    assert [layer.weight.shape[0] for layer in network.layers] == [8, 3, 6, 5]
    rows = torch.randn(3, 32)
    assert [goodness.shape for goodness, _ in network.look(rows)] == [(3, 4)] * 4
    assert [activities.shape for _, activities in network.look(rows)] == [(3, 4, n) for n in (128, 3, 6, 5)]


def test_hidden_is_short_for_dense_layers():
    short, long = (
        make_network("disjoint", hidden=(14, 12)),
        make_network("disjoint", layers=[{"units": 14}, {"units": 12}]),
    )
    assert torch.equal(short.sweep(make_rows(5)).total, long.sweep(make_rows(5)).total)
