from __future__ import annotations

import math

import pytest
import torch

from ffstream.errors import CheckpointError
from ffstream.inspection.change import changes
from ffstream.inspection.figure import draw
from ffstream.stream.snapshot import Snapshot


def make_snapshot(weight, shape=(2, 2), **others):
    tensors = {"0.weight": torch.as_tensor(weight, dtype=torch.float32), **others}
    return Snapshot(1, {"network": {"shape": list(shape)}}, {"network": tensors, "memory": {}})


def test_what_did_not_move_has_not_changed():
    weight = torch.randn(3, 4)
    (change,) = changes(make_snapshot(weight), make_snapshot(weight))
    assert (change.layer, change.part, change.relative, change.largest) == (1, "weight", 0, 0)
    assert (change.units, change.movers) == (3, 0)
    assert change.cosine == pytest.approx(1)


def test_the_measures_are_those_of_a_change_worked_out_by_hand():
    before = [[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]]
    after = [[3.0, 0.0], [0.0, 4.0], [0.0, -5.0]]
    (change,) = changes(make_snapshot(before), make_snapshot(after))
    assert (change.relative, change.largest, change.movers) == (1, 5, 1)
    assert change.cosine == pytest.approx(1 / math.sqrt(2))


@pytest.mark.parametrize(
    ("moved", "movers"), [([1, 1, 1, 1], 2), ([3, 1, 1, 1], 1), ([1, 0, 0, 0], 1), ([2, 2, 2, 1], 2)]
)
def test_movers_are_the_fewest_units_that_made_half_of_the_change(moved, movers):
    before = torch.ones(4, 1)
    (change,) = changes(make_snapshot(before), make_snapshot(before + torch.tensor(moved).unsqueeze(1)))
    assert change.movers == movers


def test_layers_come_in_order_with_all_that_they_learn_and_nothing_else():
    others = {
        "10.weight": torch.ones(2, 2),
        "1.weight": torch.ones(2, 3),
        "1.context": torch.ones(5, 2),
        "1.centre": torch.ones(2),
        "centre": torch.ones(4),
        "0.rule.mean.weight": torch.ones(3, 2),
    }
    one = make_snapshot(torch.ones(3, 4), **others)
    found = [(change.layer, change.part, change.units) for change in changes(one, one)]
    assert found == [(1, "weight", 3), (2, "context", 2), (2, "weight", 2), (11, "weight", 2)]


def test_what_was_zero_has_moved_infinitely_far():
    (change,) = changes(make_snapshot(torch.zeros(2, 2)), make_snapshot(torch.ones(2, 2)))
    assert change.relative == math.inf


def test_checkpoints_of_different_networks_are_not_compared():
    with pytest.raises(CheckpointError, match="different networks"):
        changes(make_snapshot(torch.ones(2, 4)), make_snapshot(torch.ones(3, 4)))


@pytest.mark.parametrize(("shape", "images"), [((2, 2), True), ((4,), False)])
def test_the_picture_shows_receptive_fields_where_samples_are_images(shape, images):
    before, after = (make_snapshot(torch.randn(12, 4), shape) for _ in range(2))
    drawn = draw(before, after, ("a", "b"))
    fields = [image for ax in drawn.axes for image in ax.get_images()]
    assert len(fields) == (24 if images else 0)
    most = (after.tensors["network"]["0.weight"] - before.tensors["network"]["0.weight"]).norm(dim=1).argmax()
    assert any(ax.get_title() == f"unit {int(most)}" for ax in drawn.axes) == images


def test_the_windows_of_a_convolution_are_drawn_as_they_are():
    before, after = (make_snapshot(torch.randn(3, 4), shape=(5, 6)) for _ in range(2))
    made = draw(before, after, ("one", "other"))
    assert {image.get_array().shape for axes in made.axes for image in axes.images} == {(2, 2)}
