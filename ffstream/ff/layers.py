"""One layer: its weights, its label coding, its rule."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from ffstream.ff.goodness import probability_of_real
from ffstream.ff.labels import Coding, LocalGradient, Reading
from ffstream.ff.optim import Rule


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
        (m,) int64: true labels.
    phase
        Whether real goodness rises, negative goodness falls, or both.
    """

    labels: Tensor
    phase: Phase


class Layer:
    """A dense layer that learns from its own output alone.

    Parameters
    ----------
    weight
        W, (u, i).
    coding
        How labels meet the activities.
    rule
        Applies the local gradient.
    threshold
        Goodness at which the layer calls a row real with probability one half.
    """

    def __init__(self, weight: Tensor, coding: Coding, rule: Rule, threshold: float) -> None:
        self.weight = weight
        self.coding = coding
        self.rule = rule
        self.threshold = threshold

    def read(self, inputs: Tensor) -> Reading:
        """Multiply normalised inputs (n, p, i) with the weights and read the goodness of every label."""
        return self.coding.read(inputs @ self.weight.T)

    def gradient(self, reading: Reading, inputs: Tensor, lesson: Lesson, negatives: Tensor) -> LocalGradient:
        """Return the gradient of this layer's loss, averaged over the lesson's m rows.

        The loss of a row is ``softplus(threshold - g[y])`` where real goodness rises, plus
        ``softplus(g[negative] - threshold)`` where negative goodness falls (the paper, equation 1, as a
        likelihood). Its slope is ``p - 1`` at the true label and ``p`` at the negative one.

        Parameters
        ----------
        reading
            What ``read`` returned for ``inputs``.
        inputs
            (n, p, i): the inputs of this layer; the first m rows are learned from.
        lesson
            Labels and phase.
        negatives
            (m,) int64: the wrong label of each row.
        """
        m = len(lesson.labels)
        real = probability_of_real(reading.goodness[:m], self.threshold)
        slope = torch.zeros_like(real)
        if lesson.phase.raises:
            target = lesson.labels.unsqueeze(1)
            slope.scatter_(1, target, real.gather(1, target) - 1)
        if lesson.phase.lowers:
            target = negatives.unsqueeze(1)
            slope.scatter_(1, target, real.gather(1, target))
        return self.coding.gradient(reading.hidden[:m], slope / m, inputs[:m])

    def state(self) -> dict[str, Tensor]:
        """Return every tensor of the layer that a checkpoint must hold, by name."""
        rule = {f"rule.{name}": tensor for name, tensor in self.rule.state().items()}
        return {"weight": self.weight, **self.coding.parameters(), **self.coding.buffers(), **rule}
