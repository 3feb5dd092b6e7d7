"""Networks that have really learned, as the daemon would have saved them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ffstream.config import parse
from ffstream.stream.learner import Learner

NOTHING = np.empty(0, np.int64)
Train = Callable[..., Learner]


def learn(inputs: np.ndarray, labels: np.ndarray, **network: Any) -> Learner:
    """Let a small network learn a stream twice, awake and asleep."""
    inputs, labels = np.concatenate([inputs] * 2), np.concatenate([labels] * 2)
    learner = Learner(
        parse(
            {
                "network": {"shape": inputs.shape[1:], "hidden": [60, 40], "precision": "float32", **network},
                # Small layers diverge at the rate that the small daemon takes for its few samples.
                "optimizer": {"rate": 1.5e-3},
                "engine": {"device": "cpu", "compile": False, "memory_samples": 300},
            },
            "test",
        )
    )
    start = 0
    while start < len(labels):
        learner.advance(quiet=False)
        if learner.asleep:
            learner.step([], NOTHING, [])
        else:
            part = slice(start, start + 32)
            learner.step([inputs[part]], labels[part], [])
            start += 32
    return learner


@pytest.fixture(scope="session")
def train(digits) -> Train:
    """Learn the digits; ``train(coding="overlay")``. All who ask for one get the same: leave it alone."""
    learned: dict[str, Learner] = {}

    def of(**network: Any) -> Learner:
        key = json.dumps(network)
        if key not in learned:
            learned[key] = learn(*digits, **network)
        return learned[key]

    return of
