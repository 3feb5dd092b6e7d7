from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ffstream.config import NetworkConfig
from ffstream.errors import CheckpointError, SourceError
from ffstream.inspection.probe import Samples, members, network_of, of_dataset, remembered

CONVOLUTION = {"kind": "convolution", "units": 20, "kernel": 3, "padding": 1, "regions": 2, "pool": 2}
LOCAL = {"kind": "local", "units": 6, "kernel": 4, "stride": 2}


@pytest.mark.parametrize(
    "network", [{}, {"coding": "context"}, {"threshold": "running"}, {"layers": [CONVOLUTION, {"units": 30}]}]
)
def test_the_network_of_a_checkpoint_answers_as_the_one_that_was_saved(train, digits, network):
    learner = train(**network)
    rows = torch.from_numpy(digits[0][:50].reshape(50, -1)).float() / 255
    again = network_of(learner.snapshot()).sweep(rows).total
    assert torch.equal(again, learner.network.sweep(rows).total)


@pytest.mark.parametrize("part", ["0.weight", "1.centre"])
def test_a_checkpoint_that_lacks_something_is_refused(train, part):
    whole = train().snapshot()
    kept = {name: tensor for name, tensor in whole.tensors["network"].items() if name != part}
    with pytest.raises(CheckpointError, match=part):
        network_of(replace(whole, tensors={**whole.tensors, "network": kept}))


def test_what_a_checkpoint_remembers_has_the_labels_it_came_with(train, digits):
    samples = remembered(train().snapshot())
    known = {row.tobytes(): label for row, label in zip(digits[0], digits[1], strict=True)}
    assert len(samples.rows) == 300
    for row, label in zip(samples.rows, samples.labels, strict=True):
        assert known[(row * 255).round().to(torch.uint8).numpy().tobytes()] == label


def test_a_checkpoint_that_remembers_nothing_says_what_to_do(train):
    whole = train().snapshot()
    empty = {"rows": torch.empty(0, 64), "labels": torch.empty(0, dtype=torch.int64)}
    with pytest.raises(CheckpointError, match="--dataset digits"):
        remembered(replace(whole, tensors={**whole.tensors, "memory": empty}))


def test_test_images_of_a_data_set_are_scaled_as_learning_scales_them():
    samples = of_dataset("digits", Path("none"), NetworkConfig(shape=(1, 8, 8)))
    assert samples.rows.shape == (360, 64)
    assert (float(samples.rows.min()), float(samples.rows.max())) == (0, 1)


@pytest.mark.parametrize(("shape", "labels"), [((28, 28), 10), ((64,), 10), ((3, 8, 8), 10), ((8, 8), 9)])
def test_a_data_set_that_does_not_fit_is_refused(shape, labels):
    with pytest.raises(SourceError, match=r"digits has images of shape \(8, 8\) and 10 labels"):
        of_dataset("digits", Path("none"), NetworkConfig(shape=shape, labels=labels))


def test_samples_are_drawn_once_each_with_their_labels():
    samples = Samples(torch.arange(20.0).view(20, 1), torch.arange(20), "numbers")
    drawn = samples.draw(8, torch.Generator().manual_seed(0))
    assert len({*drawn.labels.tolist()}) == 8
    assert torch.equal(drawn.rows[:, 0].long(), drawn.labels)
    assert len(samples.draw(100, torch.Generator().manual_seed(0)).rows) == 20


def test_members_are_the_units_that_a_label_owns(train):
    dense = members(network_of(train().snapshot()).layers[0])
    assert torch.equal(dense, torch.eye(10).repeat_interleave(6, 1) > 0)


def test_members_of_a_convolution_are_channels_at_every_place(train):
    layer = network_of(train(layers=[CONVOLUTION, {"units": 30}]).snapshot()).layers[0]
    channels = torch.eye(10).repeat_interleave(2, 1) > 0
    assert torch.equal(members(layer).view(10, 64, 20), channels[:, None].expand(-1, 64, -1))


def test_members_of_receptive_fields_are_units_of_one_place(train):
    layer = network_of(train(layers=[LOCAL, {"units": 30}]).snapshot()).layers[0]
    found = members(layer)
    assert found.shape == (10, 9 * 6)
    assert (found.sum(1) == 5).all()
    assert int(found.sum(0).max()) == 1


def test_members_that_are_learned_are_those_that_count_at_least_half_as_much(train):
    layer = network_of(train(assemblies="learned").snapshot()).layers[0]
    layer.form.coding.parameters()["assemblies"][:] = 0.0
    layer.form.coding.parameters()["assemblies"][:, :4] = torch.tensor([4.0, 2.5, 1.5, -4.0])
    assert torch.equal(members(layer)[:, :4], torch.tensor([[True, True, False, False]]).expand(10, -1))


def test_members_are_everyone_where_a_label_has_a_path_of_its_own(train):
    layers = network_of(train(coding="overlay").snapshot()).layers
    assert [tuple(members(layer).shape) for layer in layers] == [(1, 60), (1, 40)]
    assert all(bool(members(layer).all()) for layer in layers)
