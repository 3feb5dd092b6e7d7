from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ffstream.data import datasets
from ffstream.experiments.images import dropped, enlarged, flipped, jittered, rotated, rows


def drawn(*shape: int) -> torch.Tensor:
    return torch.randint(1, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_a_share_of_the_values_is_dropped_of_each_image_others():
    images = torch.full((300, 4, 5), 7, dtype=torch.uint8)
    made = dropped(images, 0.25, torch.Generator().manual_seed(0))
    assert made.dtype == torch.uint8
    assert set(made.unique().tolist()) == {0, 7}
    assert 0.23 < float((made == 0).float().mean()) < 0.27
    assert len(made.flatten(1).unique(dim=0)) > 290


def test_rows_are_flat_and_between_0_and_1():
    made = rows(torch.full((2, 3, 4), 255, dtype=torch.uint8))
    assert made.shape == (2, 12)
    assert made.dtype == torch.float32
    assert made.unique().tolist() == [1.0]


@pytest.mark.parametrize("channels", [(), (3,)])
def test_every_shift_is_the_image_moved_and_all_shifts_occur(channels):
    image = drawn(1, *channels, 5, 6)
    made = jittered(image.expand(500, *image.shape[1:]), 1, torch.Generator().manual_seed(0))
    inner = {one[..., 1:-1, 1:-1].numpy().tobytes() for one in made}
    expected = {
        image[0, ..., down : down + 3, right : right + 4].numpy().tobytes() for down in range(3) for right in range(3)
    }
    assert inner == expected


def test_black_moves_in_at_the_border():
    made = jittered(torch.full((200, 4, 4), 9, dtype=torch.uint8), 2, torch.Generator().manual_seed(0))
    assert made.shape == (200, 4, 4)
    assert sorted({int((one == 0).sum()) for one in made}) == [0, 4, 7, 8, 10, 12]


def test_about_half_of_the_images_are_mirrored():
    image = drawn(1, 3, 4, 5)
    made = flipped(image.expand(400, 3, 4, 5), torch.Generator().manual_seed(0))
    mirrored = sum(bool(torch.equal(one, image[0].flip(2))) for one in made)
    untouched = sum(bool(torch.equal(one, image[0])) for one in made)
    assert mirrored + untouched == 400
    assert 150 < mirrored < 250


@pytest.mark.parametrize("shape", [(3, 7, 7), (3, 6, 6), (3, 2, 6, 6)])
def test_a_right_angle_turns_images_as_torch_does(shape):
    images = drawn(*shape)
    assert torch.equal(rotated(images, torch.full((3,), 90.0)), images.rot90(1, (-2, -1)))
    assert torch.equal(rotated(images, torch.zeros(3)), images)


def test_an_oblong_image_keeps_its_proportions():
    image = torch.zeros(1, 9, 21, dtype=torch.uint8)
    image[0, 4, 6:15] = 255
    turned = rotated(image, torch.tensor([90.0]))
    assert torch.equal(turned[0].nonzero(), torch.tensor([[row, 10] for row in range(9)]))


def test_each_image_has_an_angle_of_its_own():
    images = drawn(2, 6, 6)
    turned = rotated(images, torch.tensor([0.0, 90.0]))
    assert torch.equal(turned[0], images[0])
    assert torch.equal(turned[1], images[1].rot90(1, (0, 1)))


@pytest.mark.parametrize("shape", [(28, 28), (3, 32, 32)])
def test_digits_take_the_shape_of_another_data_set(shape):
    small = datasets.load("digits", Path())
    large = enlarged(small, shape)
    assert large.shape == shape
    assert large.train[0].dtype == np.uint8
    assert large.train[0].mean() == pytest.approx(small.train[0].mean(), rel=0.05)
    assert len(large.test[0]) == len(small.test[0])
