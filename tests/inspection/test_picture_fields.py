from __future__ import annotations

import numpy as np
import pytest
import torch

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.errors import CheckpointError
from ffstream.ff.network import Network
from ffstream.inspection.fields import choose, draw, images
from ffstream.inspection.probe import network_of
from ffstream.inspection.style import montage

CONVOLUTION = {"kind": "convolution", "units": 20, "kernel": 3, "padding": 1, "pool": 2}
LOCAL = {"kind": "local", "units": 6, "kernel": 4, "stride": 2}


def learned(train, **network):
    return network_of(train(**network).snapshot())


def new(**network):
    return Network(NetworkConfig.model_validate(network), OptimizerConfig(), torch.device("cpu"))


def drawn(made):
    return [ax.get_images()[0].get_array() for ax in made.axes if ax.get_title()]


def test_a_montage_lays_tiles_in_rows_with_a_gap():
    gap = torch.nan
    expected = torch.tensor([[0, gap, 1], [gap, gap, gap], [2, gap, gap]])
    assert torch.equal(montage(torch.arange(3.0).view(3, 1, 1), 2).nan_to_num(-1), expected.nan_to_num(-1))


def test_a_dense_unit_is_drawn_as_its_row_of_weights_in_the_shape_of_the_sample(train):
    network = learned(train)
    chosen = choose(network, 12, None)
    made = draw(images(network), chosen, "title")
    for field, shown in zip(chosen, drawn(made), strict=True):
        assert np.array_equal(shown, network.layers[0].weight[field.unit].view(8, 8))


def test_all_are_on_one_scale_symmetric_about_zero(train):
    network = learned(train)
    chosen = choose(network, 12, None)
    largest = float(network.layers[0].weight[[field.unit for field in chosen]].abs().max())
    made = draw(images(network), chosen, "title")
    scales = {ax.get_images()[0].get_clim() for ax in made.axes if ax.get_title()}
    assert scales == {(-largest, largest)}


def test_units_of_the_largest_weights_are_chosen_and_stand_by_label(train):
    network = learned(train)
    norms = network.layers[0].weight.norm(dim=1)
    chosen = choose(network, 15, None)
    assert {field.unit for field in chosen} == {*norms.topk(15).indices.tolist()}
    assert [field.label for field in chosen] == sorted(field.unit // 6 for field in chosen)
    assert chosen[0].norm == pytest.approx(float(norms[chosen[0].unit]))


def test_a_seed_draws_units_of_which_no_label_is_told_where_they_are_shared(train):
    network = learned(train, assemblies="random")
    one, again, other = (choose(network, 15, seed) for seed in (1, 1, 2))
    assert one == again
    assert len({field.unit for field in one}) == 15
    assert {field.unit for field in one} != {field.unit for field in other}
    assert {field.label for field in one} == {None}


def test_more_units_than_there_are_shows_all(train):
    assert len(choose(learned(train), 1000, None)) == 60


def test_a_convolution_shows_its_kernels(train):
    network = learned(train, layers=[CONVOLUTION, {"units": 30}])
    tiles = images(network)
    assert tiles.shape == (20, 3, 3)
    # The activation of channel 7 at a place is the kernel laid over the image there.
    image = torch.rand(8, 8)
    made = network.layers[0].connection.forward(image.view(1, 1, 64)).view(8, 8, 20)
    assert float(made[3, 4, 7]) == pytest.approx(float((image[2:5, 3:6] * tiles[7]).sum()), rel=1e-4)
    assert {field.label for field in choose(network, 20, None)} == {*range(10)}


def test_receptive_fields_show_a_patch_at_each_place(train):
    network = learned(train, layers=[LOCAL, {"units": 30}])
    tiles = images(network)
    assert tiles.shape == (6, 14, 14)
    image = torch.rand(8, 8)
    made = network.layers[0].connection.forward(image.view(1, 1, 64)).view(3, 3, 6)
    for row, column in ((0, 0), (1, 2), (2, 0)):
        patch = tiles[4, 5 * row : 5 * row + 4, 5 * column : 5 * column + 4]
        seen = image[2 * row : 2 * row + 4, 2 * column : 2 * column + 4]
        assert float(made[row, column, 4]) == pytest.approx(float((seen * patch).sum()), rel=1e-4)
    assert {field.label for field in choose(network, 6, None)} == {None}


@pytest.mark.parametrize("layers", [[{"units": 12}], [{**CONVOLUTION, "units": 12}]])
def test_colour_is_the_weight_added_to_grey(layers):
    network = new(shape=(3, 8, 8), layers=layers)
    chosen = choose(network, 12, None)
    weight = network.layers[0].weight.float()
    made = draw(images(network), chosen, "title")
    largest = float(weight.abs().max())
    for field, shown in zip(chosen, drawn(made), strict=True):
        planes = weight[field.unit].view(3, *shown.shape[:2])
        assert np.allclose(shown, (planes.permute(1, 2, 0) / largest + 1) / 2, atol=1e-6)


def test_receptive_fields_in_colour_have_white_between_them():
    network = new(shape=(3, 8, 8), layers=[{**LOCAL, "units": 4}])
    (first, *_) = drawn(draw(images(network), choose(network, 4, None), "title"))
    assert first.shape == (14, 14, 3)
    assert (first[4] == 1).all()


@pytest.mark.parametrize("shape", [(64,), (2, 8, 4)])
def test_samples_that_are_no_images_are_refused(shape):
    with pytest.raises(CheckpointError, match=r"of shape \(.*\) is not an image"):
        images(new(shape=shape, hidden=(20,)))
