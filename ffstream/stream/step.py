"""What one sweep of a learner did, and how its layers found the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ffstream.ff.lesson import Phase
from ffstream.ff.scores import Scores


@dataclass(frozen=True)
class SignScores:
    """How the layers found the rows of one sign in the last step that had any; a value a layer."""

    goodness: list[float]
    probability_of_real: list[float]


@dataclass(frozen=True)
class Step:
    """What one sweep did.

    Attributes
    ----------
    version
        Steps behind the weights with which the sweep began.
    phase
        The phase in which it ran.
    learned, replayed, dreamed
        New samples, remembered ones, and dreams that it learned from.
    scores
        What the network made of every row, learning rows first.
    labels
        (learned,) true labels of the new samples, -1 where there is none.
    predicted
        (learned,) int64 on the network's device: those predicted before learning them.
    sham
        Whether it changed nothing: sleep under the override ``sham``.
    """

    version: int
    phase: Phase
    learned: int
    replayed: int
    dreamed: int
    scores: Scores
    labels: NDArray[np.int64]
    predicted: Tensor
    sham: bool = False
