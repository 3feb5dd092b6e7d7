"""Small learners for tests, and the stream that they learn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ffstream.config import Config, parse
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.learner import Learner

RULES = ("in_place", "unit", "factored", "momentum", "adam")
RUN = 24
NONE = np.empty(0, np.int64)


def make_config(**sections: dict[str, Any]) -> Config:
    values: dict[str, dict[str, Any]] = {
        "network": {"shape": [6], "labels": 3, "hidden": [12, 10], "seed": 5, "precision": "float32"},
        "phases": {"wake_steps": 4, "sleep_steps": 3},
        "engine": {"device": "cpu", "max_batch": 8, "memory_samples": 20, "compile": False},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return parse(values, "test")


def stream(seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(seed)
    while True:
        yield generator.random((5, 6), np.float32), generator.integers(0, 3, 5)


def stream_after(learner: Learner) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give what follows in a stream on what a learner has learned of it."""
    return itertools.islice(stream(), learner.samples_learned // 5, None)


def drive(learner: Learner, samples: Iterator[tuple[np.ndarray, np.ndarray]], steps: int) -> Learner:
    """Step as the engine does: asleep on memory, awake on the stream."""
    for _ in range(steps):
        learner.advance(quiet=False)
        if learner.asleep:
            learner.step([], NONE, [])
        else:
            inputs, labels = next(samples)
            learner.step([inputs], labels, [])
    return learner


def tensors(learner: Learner) -> dict[str, torch.Tensor]:
    snapshot = learner.snapshot()
    return {f"{file}.{name}": tensor for file, named in snapshot.tensors.items() for name, tensor in named.items()}


def same(one: Learner, other: Learner) -> bool:
    expected, found = tensors(one), tensors(other)
    return expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)


def reopened(learner: Learner, config: Config, folder: Path) -> Learner:
    """Save a learner, and return another that is restored from disk."""
    store = CheckpointStore(folder, keep=1)
    store.save(learner.snapshot())
    restored = Learner(config)
    restored.restore(store.newest()[0])
    return restored
