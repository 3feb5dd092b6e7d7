"""What a sweep finds wrong, of the kind that wake mends and of the kind that sleep mends."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ffstream.config import NetworkConfig, OptimizerConfig
from ffstream.ff.lesson import Lesson, Phase
from ffstream.ff.network import Network

ROWS, LABELS = torch.rand(9, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2] * 3)


def fresh(**network: Any) -> Network:
    config = NetworkConfig(shape=(6,), labels=3, hidden=(12, 9), precision="float32", **network)
    return Network(config, OptimizerConfig(), torch.device("cpu"))


def swept(phase: Phase, rows: int = 9, **network: Any) -> tuple[Network, Any, Lesson]:
    """Sweep rows, of which the first are a lesson."""
    made = fresh(**network)
    lesson = Lesson(LABELS[:rows], phase)
    return made, made.sweep(ROWS, lesson, torch.Generator().manual_seed(2)), lesson


def probabilities(goodness: list[torch.Tensor], thresholds: list[float]) -> torch.Tensor:
    """Return p(real) of each label of each row, from goodness (n, C) of every layer, in plain steps."""
    mean = sum(goodness) / len(goodness)
    return 1 / (1 + torch.exp(-(mean - sum(thresholds) / len(thresholds))))


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("network", [{"threshold": 3.0}, {"threshold": "running"}, {"coding": "context"}], ids=str)
def test_errors_are_those_of_the_true_label_and_of_the_wrong_one_most_believed(phase, network):
    made, scores, lesson = swept(phase, 5, **network)
    # Each layer is judged, and sends on, before its own update.
    goodness = [goodness for goodness, _ in fresh(**network).look(ROWS[:5])]
    real = probabilities(goodness, [float(layer.threshold) for layer in made.layers])
    wake = [1 - float(real[row, label]) for row, label in enumerate(LABELS[:5])]
    sleep = [max(float(real[row, c]) for c in range(3) if c != label) for row, label in enumerate(LABELS[:5])]
    wake_error, sleep_error = made.errors(scores, lesson)
    assert float(wake_error) == pytest.approx(sum(wake) / 5, rel=1e-4)
    assert float(sleep_error) == pytest.approx(sum(sleep) / 5, rel=1e-4)


def test_goodness_held_against_other_labels_is_a_share_among_them():
    made, scores, lesson = swept(Phase.WAKE, against="labels")
    real = (scores.total[:9] / 2).softmax(1)
    wake_error, sleep_error = made.errors(scores, lesson)
    assert float(wake_error) == pytest.approx(float(1 - real[torch.arange(9), LABELS].mean()))
    assert 0 < float(sleep_error) <= float(wake_error)


@pytest.mark.parametrize(
    ("phase", "seen"), [(Phase.WAKE, (True, False)), (Phase.SLEEP, (False, True)), (Phase.TOGETHER, (True, True))]
)
@pytest.mark.parametrize("coding", ["assembly", "none"])
def test_of_other_inputs_a_sweep_shows_only_what_it_moves(phase, seen, coding):
    readout = {"readout": "all", "prediction": "readout"} if coding == "none" else {}
    made, scores, lesson = swept(phase, coding=coding, negatives="noise", threshold=3.0, **readout)
    errors = made.errors(scores, lesson)
    assert tuple(error is not None for error in errors) == seen
    if errors[0] is not None:
        assert float(errors[0]) == pytest.approx(float(1 - scores.real[:, :, 0].mean()))
    if errors[1] is not None:
        assert float(errors[1]) == pytest.approx(float(scores.real[:, :, -1].mean()))
