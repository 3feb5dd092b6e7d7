"""Results of one sweep of a learner, and its layers' scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ffstream.ff.lesson import Phase
from ffstream.ff.scores import Scores


@dataclass(frozen=True)
class SignScores:
    """Mean scores of the rows of one sign in the last step that had any; one value per layer."""

    goodness: list[float]
    probability_of_real: list[float]


@dataclass(frozen=True)
class Step:
    """Result of one sweep.

    Attributes
    ----------
    version
        Number of learning steps behind the weights before the sweep.
    phase
        The phase in which it ran.
    learned, replayed, dreamed
        Number of new samples, remembered samples and dreams that it learned from.
    scores
        The network's scores of every row, learning rows first.
    labels
        (learned,) true labels of the new samples, -1 where there is none.
    predicted
        (learned,) int64 on the network's device: labels predicted before learning the samples.
    sham
        True if it changed nothing: sleep under the override ``sham``.
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
