from __future__ import annotations

import numpy as np
import pytest
import torch

from ffstream.stream.staging import Staging, bucket

CPU = torch.device("cpu")


@pytest.mark.parametrize(("rows", "filled"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 16), (64, 64), (65, 72)])
def test_a_bucket_holds_its_rows_with_little_room_to_spare(rows: int, filled: int) -> None:
    assert bucket(rows) == filled


def test_few_buckets_hold_all_sweeps() -> None:
    assert len({bucket(rows) for rows in range(1, 321)}) == 43


def test_rows_that_are_asked_about_are_filled_up_with_zeros() -> None:
    staging = Staging(20, 2, CPU)
    staging.fill([np.ones((20, 2), np.float32)], [])
    rows, sent = staging.fill([np.full((3, 2), 255, np.uint8)], [np.full((2, 2), 5, np.float32)])
    assert rows.tolist() == sent.tolist() == [[1, 1]] * 3 + [[5, 5]] * 2 + [[0, 0]] * 3


def test_rows_that_are_learned_alone_are_as_many_as_they_are() -> None:
    assert Staging(20, 2, CPU).fill([np.ones((13, 2), np.float32)], [])[1].shape == (13, 2)


def test_the_largest_sweep_has_room_for_its_bucket() -> None:
    assert Staging(321, 1, CPU).fill([], [np.ones((321, 1), np.float32)])[1].shape == (328, 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_has_fetched_the_rows_before_they_are_written_over() -> None:
    staging, many = Staging(4_096, 784, torch.device("cuda")), np.ones((4_096, 784), np.float32)
    sent = [staging.fill([many * turn], [])[1] for turn in range(9)]
    assert [(float(rows.min()), float(rows.max())) for rows in sent] == [(turn, turn) for turn in range(9)]
