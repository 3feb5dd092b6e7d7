from __future__ import annotations

import numpy as np
import pytest

from ffstream.stream.staging import Staging, bucket


@pytest.mark.parametrize(("rows", "filled"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 16), (64, 64), (65, 72)])
def test_a_bucket_holds_its_rows_with_little_room_to_spare(rows: int, filled: int) -> None:
    assert bucket(rows) == filled


def test_few_buckets_hold_all_sweeps() -> None:
    assert len({bucket(rows) for rows in range(1, 321)}) == 43


def test_rows_that_are_asked_about_are_filled_up_with_zeros() -> None:
    staging = Staging(20, 2)
    staging.fill([np.ones((20, 2), np.float32)], [])
    rows = staging.fill([np.full((3, 2), 255, np.uint8)], [np.full((2, 2), 5, np.float32)])
    assert rows.tolist() == [[1, 1]] * 3 + [[5, 5]] * 2 + [[0, 0]] * 3


def test_rows_that_are_learned_alone_are_as_many_as_they_are() -> None:
    assert Staging(20, 2).fill([np.ones((13, 2), np.float32)], []).shape == (13, 2)


def test_the_largest_sweep_has_room_for_its_bucket() -> None:
    assert Staging(321, 1).fill([], [np.ones((321, 1), np.float32)]).shape == (328, 1)
