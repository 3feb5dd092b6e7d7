"""Lessons, which tell a sweep what to learn from its rows."""

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
    """Phase of a learning step: real goodness rises (wake), negative goodness falls (sleep), or both (together)."""

    WAKE = "wake"
    SLEEP = "sleep"
    TOGETHER = "together"

    @property
    def raises(self) -> bool:
        """True if the goodness of real data rises in this phase."""
        return self is not Phase.SLEEP

    @property
    def lowers(self) -> bool:
        """True if the goodness of negatives falls in this phase."""
        return self is not Phase.WAKE


@dataclass(frozen=True)
class Lesson:
    """Labels and phase of the first ``len(labels)`` rows of a sweep, from which it learns.

    Attributes
    ----------
    labels
        (m,) int64: true labels; -1 for a sample without one, which only coding ``none`` learns from.
    phase
        Direction of learning: real goodness rises, negative goodness falls, or both.
    scored
        True if the lesson's own rows are predicted too. Under ``overlay`` coding this takes one path per label;
        otherwise a row takes two paths, and its scores cover only those.
    sham
        True if the rows are only scored as in a lesson: neither weights nor running means change.
    dreamed
        Number of leading rows that are dreams; where negatives are other inputs, dreams already are negatives.
    """

    labels: Tensor
    phase: Phase
    scored: bool = True
    sham: bool = False
    dreamed: int = 0


class Teaching(NamedTuple):
    """A lesson extended to all n rows of a sweep, so that learning rows and query rows run through the same code.

    Attributes
    ----------
    labels
        (n, 1) int64: true labels; arbitrary on a query row.
    signs
        (1, t), or (n, t) where rows differ: 1 for a target whose goodness rises, 0 for one whose goodness falls.
    weight
        (n, 1): weight of each row in learning; 0 for a query row, and throughout a sham.
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
    """Extend a lesson to rows (n, i), the first of which are learned from.

    Where negatives are corrupted inputs, they replace the lesson's rows asleep, and follow right after them where both
    signs are learned at once.

    Returns
    -------
    tuple
        The rows, the teaching, and the number of rows that teach.
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
    """Leave out the corrupted copies, which are rows m to ``taught``."""
    return values if taught == m else torch.cat([values[:m], values[taught:]])


def beside_copies(values: Tensor, m: int, taught: int) -> Tensor:
    """Join the values of a lesson's rows, (m, ..., t), with those of their corrupted copies, along the last axis."""
    return values[:m] if taught == m else torch.cat([values[:m], values[m:taught]], -1)
