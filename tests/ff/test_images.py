"""Images as images: channels first as they are sent, place by place between layers."""

from __future__ import annotations

import pytest
import torch
from plain_forward import copy_of, equal, make_rows, seeded
from plain_layer import normalised
from torch import Tensor
from torch.nn import functional

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network

CHANNELS, HEIGHT, WIDTH, LABELS = 3, 6, 8, 4
LAYERS = (
    {"kind": "convolution", "units": 8, "kernel": 3, "padding": 1, "pool": 2, "regions": 2},
    {"kind": "local", "units": 5, "kernel": 2, "stride": 1},
    {"units": 12},
)


def make(**network: object) -> Network:
    values = {"shape": (CHANNELS, HEIGHT, WIDTH), "labels": LABELS, "layers": LAYERS, "precision": "float32", **network}
    return Network(NetworkConfig(**values), OptimizerConfig(rate=0.01), torch.device("cpu"))


def make_images(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, CHANNELS, HEIGHT, WIDTH, generator=seeded(seed))


def learn(network: Network, images: Tensor, m: int, phase: Phase = Phase.TOGETHER) -> Tensor:
    lesson = Lesson(torch.arange(m) % LABELS, phase)
    return network.sweep(images.flatten(1), lesson, seeded(3)).total


def activities(network: Network, images: Tensor) -> list[Tensor]:
    return [activity[:, 0] for _, activity in network.look(images.flatten(1))]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_torchs_on_the_image_as_it_was_sent(stride):
    network = make(layers=({"kind": "convolution", "units": 5, "kernel": 3, "stride": stride, "padding": 1},))
    images = make_images(4)
    kernels = network.layers[0].weight.view(5, CHANNELS, 3, 3)
    seen = normalised(images.flatten(1)).view_as(images)
    expected = functional.conv2d(seen, kernels, stride=stride, padding=1).relu()
    (found,) = activities(network, images)
    torch.testing.assert_close(found, expected.permute(0, 2, 3, 1).flatten(1), rtol=1e-4, atol=1e-5)


def test_a_grey_image_needs_no_channels_in_its_shape():
    layers = ({"kind": "convolution", "units": 5, "kernel": 3},)
    flat, deep = make(shape=(6, 8), layers=layers), make(shape=(1, 6, 8), layers=layers)
    rows = torch.randn(4, 48, generator=seeded())
    assert torch.equal(flat.sweep(rows).total, deep.sweep(rows).total)


def test_every_layer_sees_the_image_that_the_one_below_makes():
    network, images = make(centring=False), make_images(4)
    first, second, third = (layer.weight for layer in network.layers)
    found = activities(network, images)
    image = normalised(images.flatten(1)).view_as(images)
    image = functional.conv2d(image, first.view(8, CHANNELS, 3, 3), padding=1).relu()
    torch.testing.assert_close(found[0], image.permute(0, 2, 3, 1).flatten(1), rtol=1e-4, atol=1e-5)
    pooled = functional.max_pool2d(image, 2)
    pooled = normalised(pooled.flatten(1)).view_as(pooled)
    windows = functional.unfold(pooled, 2).transpose(1, 2)
    local = torch.einsum("nli,lui->nlu", windows, second.view(2 * 3, 5, -1)).relu().flatten(1)
    torch.testing.assert_close(found[1], local, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[2], (normalised(local) @ third.T).relu(), rtol=1e-4, atol=1e-5)


def test_a_dense_first_layer_takes_the_values_as_they_were_sent():
    deep = make(layers=({"units": 12},))
    flat = make(shape=(CHANNELS * HEIGHT * WIDTH,), layers=({"units": 12},))
    rows = make_images(4).flatten(1)
    assert torch.equal(deep.sweep(rows).total, flat.sweep(rows).total)


def test_labels_are_written_over_the_first_pixels_of_the_image_as_it_was_sent():
    network, images = make(coding="overlay", layers=LAYERS[:1], centring=False), make_images(3)
    kernels = network.layers[0].weight.view(8, CHANNELS, 3, 3)
    ((_, found),) = network.look(images.flatten(1))
    for label in range(LABELS):
        written = images.clone()
        written[:, 0, 0, :LABELS] = 0
        written[:, 0, 0, label] = images.flatten(1).max(1).values
        seen = normalised(written.flatten(1)).view_as(images)
        expected = functional.conv2d(seen, kernels, padding=1).relu().permute(0, 2, 3, 1).flatten(1)
        torch.testing.assert_close(found[:, label], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("coding", ["assembly", "context", "overlay"])
def test_learning_leaves_the_answers_of_every_row_bit_for_bit_as_they_are(coding, precision):
    answered, taught = (make(coding=coding, precision=precision, assemblies="random") for _ in range(2))
    images = make_images(13)
    expected = answered.sweep(images.flatten(1)).total
    assert torch.equal(learn(taught, images, 8), expected)
    assert not any(
        torch.equal(one.weight, other.weight) for one, other in zip(taught.layers, answered.layers, strict=True)
    )


@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "master"])
def test_the_same_sweeps_are_repeated_bit_for_bit(rounding):
    config = NetworkConfig(shape=(CHANNELS, HEIGHT, WIDTH), labels=LABELS, layers=LAYERS, assemblies="random")
    config = config.model_copy(update={"precision": "bfloat16"})
    one, same = (Network(config, OptimizerConfig(rounding=rounding), torch.device("cpu")) for _ in range(2))
    for network in (one, same):
        for seed in range(3):
            learn(network, make_images(9, seed), 6)
    assert equal(copy_of(one), copy_of(same))


def test_what_the_places_of_a_convolution_share_is_one_centre_a_channel():
    network = make()
    assert [len(layer.running.centre) for layer in network.layers] == [8, 2 * 3 * 5, 12]
    learn(network, make_images(9), 6)
    assert all(layer.running.centre.any() for layer in network.layers)


@pytest.mark.parametrize("pool", [2, 3])
def test_places_that_no_pool_covers_whole_are_left_out(pool):
    network = make(layers=({"kind": "local", "units": 4, "kernel": 2, "pool": pool}, {"units": 12}))
    rows, columns = 5 // pool, 7 // pool
    assert network.layers[1].weight.shape == (12, rows * columns * 4)
    learn(network, make_images(9), 6)
    assert len(network.layers[0].running.centre) == rows * columns * 4


def test_a_flat_sample_under_a_local_layer_is_one_place():
    network = make(shape=(9,), layers=({"kind": "local", "units": 8, "kernel": 1},), coding="context")
    dense = make(shape=(9,), layers=({"units": 8},), coding="context")
    torch.testing.assert_close(network.sweep(make_rows(5)).total, dense.sweep(make_rows(5)).total)
