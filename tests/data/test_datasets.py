from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ffstream.data.datasets import HELD_OUT, NAMES, TORCHVISION, jittered, load
from ffstream.errors import SourceError

ROOT = Path("unused")


def dots(count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return images with one lit pixel in the middle, each of its own brightness; labelled with it."""
    labels = np.arange(1, count + 1)
    images = np.zeros((count, 5, 7), np.uint8)
    images[:, 2, 3] = labels
    return images, labels


def test_the_two_parts_of_the_digits_hold_each_digit_once(digits: tuple[np.ndarray, np.ndarray]) -> None:
    loaded = load("digits", ROOT)
    assert len(loaded.test[0]) == HELD_OUT
    parts = np.concatenate([loaded.train[0], loaded.test[0]])
    # Sixteen greys, so that another rounding of the same grey counts as the same.
    assert Counter(image.tobytes() for image in parts // 15) == Counter(image.tobytes() for image in digits[0] // 15)


def test_the_digits_are_split_the_same_way_each_time() -> None:
    first, second = load("digits", ROOT), load("digits", ROOT)
    assert np.array_equal(first.test[0], second.test[0])
    assert np.array_equal(first.train[1], second.train[1])


def test_the_digits_are_bytes_over_the_whole_range() -> None:
    loaded = load("digits", ROOT)
    images, labels = loaded.train
    assert (images.dtype, images.min(), images.max(), labels.dtype) == (np.uint8, 0, 255, np.int64)
    assert (loaded.shape, loaded.labels, set(labels)) == ((8, 8), 10, set(range(10)))


def test_a_name_that_is_no_data_set_is_answered_with_those_there_are() -> None:
    with pytest.raises(SourceError, match=f"no data set is called 'mnits'; there are {', '.join(NAMES)}"):
        load("mnits", ROOT)


@pytest.mark.parametrize("name", TORCHVISION)
def test_missing_files_are_answered_with_what_to_do(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=rf"{name} is not in .*--data-root.*--download"):
        load(name, tmp_path)


@pytest.mark.parametrize("count", [1, 5, 13])
def test_a_jittered_stream_has_the_length_asked_for(count: int) -> None:
    images, labels = jittered(*dots(), count, seed=0)
    assert (images.shape, labels.shape) == ((count, 5, 7), (count,))


def test_a_shift_is_at_most_one_pixel_either_way() -> None:
    images, labels = jittered(*dots(), 500, seed=0)
    row, down, right = np.nonzero(images)
    assert row.tolist() == list(range(500))
    assert set(zip(down.tolist(), right.tolist(), strict=True)) == {(i, j) for i in (1, 2, 3) for j in (2, 3, 4)}
    assert np.array_equal(images.max((1, 2)), labels)


def test_what_is_shifted_out_does_not_come_in_again() -> None:
    images = np.full((1, 3, 3), 9, np.uint8)
    shifted, _ = jittered(images, np.zeros(1, np.int64), 200, seed=0)
    assert set((shifted > 0).sum((1, 2)).tolist()) == {4, 6, 9}


def test_a_stream_shows_every_image_once_before_any_comes_again() -> None:
    _, labels = jittered(*dots(), 15, seed=0)
    assert [sorted(part) for part in labels.reshape(3, 5).tolist()] == [[1, 2, 3, 4, 5]] * 3


def test_the_same_seed_gives_the_same_stream() -> None:
    first, second = jittered(*dots(), 50, seed=3), jittered(*dots(), 50, seed=3)
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_another_seed_gives_another_stream() -> None:
    assert not np.array_equal(jittered(*dots(), 50, seed=3)[0], jittered(*dots(), 50, seed=4)[0])
