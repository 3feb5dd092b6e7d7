"""What is to be learned from the rows of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from torch import Tensor


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
    """

    labels: Tensor
    phase: Phase


class Teaching(NamedTuple):
    """A lesson laid over all n rows of a sweep, so that learning rows and query rows take the same road.

    Attributes
    ----------
    labels
        (n, 1) int64: true labels; anything on a query row.
    signs
        (1, t), or (n, t) where rows differ: 1 for a target whose goodness rises, 0 for one whose goodness falls.
    weight
        (n, 1): how much a row teaches; 0 on a query row.
    """

    labels: Tensor
    signs: Tensor
    weight: Tensor
