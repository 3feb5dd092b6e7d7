"""Criteria: what a label's goodness is compared with, and the slope of the layer's loss.

The loss of a row is ``-log p[y]`` where real goodness rises, plus ``-log(1 - p[negative])`` where negative goodness
falls. Under ``threshold``, ``p = sigmoid(goodness - threshold)`` (the paper, equation 1), so the slope is ``p - 1`` at
the true label and ``p`` at the negative one. Under ``labels``, ``p = softmax(goodness)`` over the labels, as in
channel-wise competitive learning (arXiv 2312.12668, section 3), so every label is moved. Label smoothing applies there:
the loss is then the cross-entropy of ``p`` with a target probability below 1.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.config.network import Against


class Judgement(NamedTuple):
    """Slope of a loss at goodness.

    Attributes
    ----------
    moved
        (n, t) int64: labels whose goodness the loss depends on; ``None`` for all.
    slope
        (n, r, t): slope of the loss at their goodness, in each region.
    real
        (n, t): probability that the layer calls each target real, averaged over regions.
    """

    moved: Tensor | None
    slope: Tensor
    real: Tensor


class Criterion(Protocol):
    """Compares the goodness of labels with a threshold or with each other."""

    def __call__(self, goodness: Tensor, targets: Tensor, signs: Tensor, threshold: float | Tensor) -> Judgement:
        """Judge goodness (n, r, C) at targets (n, t); those of sign 1 should rise, those of sign 0 fall."""


def against_threshold(goodness: Tensor, targets: Tensor, signs: Tensor, threshold: float | Tensor) -> Judgement:
    """Compare goodness with a threshold."""
    shown = goodness.gather(2, targets.unsqueeze(1).expand(-1, goodness.shape[1], -1))
    real = torch.sigmoid(shown - threshold)
    return Judgement(targets, real - signs.unsqueeze(1), real.mean(1))


class AgainstLabels(NamedTuple):
    """Compares goodness with that of the other labels: their log-sum-exp is the threshold that a label has to pass.

    Attributes
    ----------
    smoothing
        Amount by which the target probability of a true label falls short of 1, see ``soften``.
    """

    smoothing: float = 0.0

    def __call__(self, goodness: Tensor, targets: Tensor, signs: Tensor, threshold: float | Tensor) -> Judgement:
        """Judge as a ``Criterion`` does; the threshold is ignored."""
        del threshold
        labels = goodness.shape[2]
        at = functional.one_hot(targets, labels).unsqueeze(1)
        others = goodness.unsqueeze(2).masked_fill(at > 0, -torch.inf)
        shown = goodness.gather(2, targets.unsqueeze(1).expand(-1, goodness.shape[1], -1))
        real = torch.sigmoid(shown - others.logsumexp(3))
        # A pull on a target pulls the other labels the opposite way, each by its share among them.
        pull = (real - soften(signs, self.smoothing, labels).unsqueeze(1)).unsqueeze(3)
        return Judgement(None, (pull * (at - others.softmax(3))).sum(2), real.mean(1))


def soften(signs: Tensor, smoothing: float, labels: int) -> Tensor:
    """Turn signs, 1 or 0, into target probabilities: label smoothing (arXiv 1512.00567, section 7).

    The true label gets ``1 - smoothing``, and the wrong labels share the rest equally.
    """
    return signs * (1 - smoothing) + (1 - signs) * (smoothing / (labels - 1))


def make_criterion(name: Against, smoothing: float) -> Criterion:
    """Make the criterion that a configuration names."""
    return AgainstLabels(smoothing) if name == "labels" else against_threshold
