from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from ffstream.stream.prequential import Prequential


def add(scores: Prequential, batch: list[bool]) -> None:
    """Predict label 1 of samples that have it where the batch is true, and label 0 elsewhere."""
    scores.add(torch.ones(len(batch), dtype=torch.int64), np.array(batch, np.int64))


def scored(window: int, *batches: list[bool]) -> Prequential:
    scores = Prequential(window)
    for batch in batches:
        add(scores, batch)
    return scores


def test_nothing_is_known_before_the_first_sample():
    assert math.isnan(Prequential(3).total)
    assert math.isnan(Prequential(3).windowed)


def test_the_total_counts_every_sample_once():
    assert scored(2, [True, True, True], [False]).total == 0.75


def test_the_window_forgets_all_but_the_last_samples():
    assert scored(4, [True] * 10, [False, False, False]).windowed == 0.25


def test_a_window_that_is_not_full_counts_what_it_has():
    assert scored(100, [True, False]).windowed == 0.5


def test_an_empty_batch_changes_nothing():
    assert scored(4, [True, False], []).total == 0.5


@pytest.mark.parametrize("used", [False, True])
def test_restoring_goes_on_from_the_saved_scores_alone(used):
    saved, restored = scored(4, [True, False, False]), scored(4, [True] * 3 if used else [])
    restored.restore(json.loads(json.dumps(saved.state())))
    for scores in (saved, restored):
        add(scores, [True])
    assert (restored.total, restored.windowed) == (saved.total, saved.windowed) == (0.5, 0.5)


def test_a_smaller_window_restores_the_latest_samples():
    smaller = Prequential(2)
    smaller.restore(scored(4, [True, True, False, True]).state())
    assert (smaller.total, smaller.windowed) == (0.75, 0.5)


def test_samples_without_a_label_are_not_counted():
    scores = Prequential(4)
    scores.add(torch.tensor([1, -1, 0]), np.array([1, -1, -1]))
    assert (scores.count, scores.correct) == (1, 1)


def test_predictions_are_read_every_so_often_and_before_they_are_saved():
    scores = Prequential(4, every=3)
    seen = []
    for _ in range(4):
        add(scores, [True, False])
        seen.append(scores.count)
    assert seen == [0, 0, 6, 6]
    assert scores.state() == {"count": 8, "correct": 4, "window": "1010"}
    add(scores, [True])
    scores.read()
    assert (scores.count, scores.windowed) == (9, 0.5)


def test_what_was_not_read_is_forgotten_when_one_goes_back():
    scores = Prequential(4, every=9)
    add(scores, [True])
    scores.restore(scored(4, [False]).state())
    assert scores.state()["count"] == 1
