"""What is to be learned from the rows of a sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.config import NetworkConfig
from ffstream.ff.negatives import corrupt


class Phase(StrEnum):
    """Which goodness a learning step moves: real up (wake), negative down (sleep), or both (together)."""

    WAKE = "wake"
    SLEEP = "sleep"
    TOGETHER = "together"

    @property
    def raises(self) -> bool:
        """Whether the goodness of real data rises in this phase."""
        return self is not Phase.SLEEP

    @property
    def lowers(self) -> bool:
        """Whether the goodness of negatives falls in this phase."""
        return self is not Phase.WAKE


@dataclass(frozen=True)
class Lesson:
    """What is to be learned from the first ``len(labels)`` rows of a sweep.

    Attributes
    ----------
    labels
        (m,) int64: true labels; -1 where a sample has none, which only coding ``none`` learns from.
    phase
        Whether real goodness rises, negative goodness falls, or both.
    scored
        Whether the lesson's own rows are to be predicted too. Under ``overlay`` coding that takes a path a label; where
        it is not needed, a row takes two, and its scores are of those.
    sham
        Whether the rows are only scored as the lesson would: nothing changes, neither weights nor running means.
    dreamed
        How many of the first rows are dreams: where negatives are other inputs, they are such already.
    """

    labels: Tensor
    phase: Phase
    scored: bool = True
    sham: bool = False
    dreamed: int = 0


class Teaching(NamedTuple):
    """A lesson laid over all n rows of a sweep, so that learning rows and query rows take the same road.

    Attributes
    ----------
    labels
        (n, 1) int64: true labels; anything on a query row.
    signs
        (1, t), or (n, t) where rows differ: 1 for a target whose goodness rises, 0 for one whose goodness falls.
    weight
        (n, 1): how much a row teaches; 0 on a query row, and where the lesson is a sham.
    """

    labels: Tensor
    signs: Tensor
    weight: Tensor


def lay_out(
    rows: Tensor,
    lesson: Lesson,
    network: NetworkConfig,
    signs_of: Callable[[Phase], Tensor],
    generator: torch.Generator | None,
) -> tuple[Tensor, Teaching, int]:
    """Lay a lesson over rows (n, i) of which the first are learned from.

    Where negatives are corrupted inputs, asleep they take the place of the lesson's rows, and where both signs are
    learned at once they travel right behind them.

    Returns
    -------
    tuple
        The rows; the teaching; and how many rows teach.
    """
    m, labels, signs = len(lesson.labels), lesson.labels.unsqueeze(1), signs_of(lesson.phase)
    if lesson.phase.lowers and generator is None:
        raise ValueError("a lesson that lowers goodness needs a generator to draw its negatives from")
    if network.corruption and lesson.phase.lowers and generator is not None:
        corrupted = rows[:m]
        if lesson.dreamed < m:
            copies = corrupt(network.corruption, rows[lesson.dreamed : m], network.shape, generator)
            corrupted = torch.cat([rows[: lesson.dreamed], copies])
        real = rows[:m] if lesson.phase.raises else rows[:0]
        labels = torch.cat([labels[: len(real)], labels])
        rows = torch.cat([real, corrupted, rows[m:]])
        if lesson.phase.raises:
            signs = torch.zeros(len(rows), 1, device=rows.device)
            signs[:m] = 1
    if network.coding == "none":
        labels = torch.zeros_like(labels)
    weight = torch.full((len(labels), 1), 0.0 if lesson.sham else 1.0, device=rows.device)
    taught = len(labels)
    if queries := len(rows) - taught:
        labels, weight = (functional.pad(values, (0, 0, 0, queries)) for values in (labels, weight))
    return rows, Teaching(labels, signs, weight), taught


def without_copies(values: Tensor, m: int, taught: int) -> Tensor:
    """Leave out the rows of corrupted copies, which lie from m to ``taught``."""
    return values if taught == m else torch.cat([values[:m], values[taught:]])


def beside_copies(values: Tensor, m: int, taught: int) -> Tensor:
    """Take what a lesson's rows have, (m, ..., t), and beside it what their corrupted copies have."""
    return values[:m] if taught == m else torch.cat([values[:m], values[m:taught]], -1)
