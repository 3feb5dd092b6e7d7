"""One layer: its weights, its label coding, its rule, and what it makes of a row.

A layer costs two matrix products a step, one forward and one to update; everything between them is ``judge``, one
function that a compiler fuses into a single pass over the activations (``ffstream.ff.fused``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor

from ffstream.ff.goodness import normalise, probability_of_real
from ffstream.ff.labels import Coding, path_of
from ffstream.ff.negatives import wrong_labels
from ffstream.ff.optim import LocalGradient, Rule

# How far the running mean of a layer's inputs moves to each row that is learned from.
CENTRING = 0.003


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


class Teaching(NamedTuple):
    """A lesson laid over all n rows of a sweep, so that learning rows and query rows take the same road.

    Attributes
    ----------
    labels
        (n, 1) int64: true labels; anything on a query row.
    signs
        (t,): 1 for a target whose goodness rises, 0 for one whose goodness falls.
    weight
        (n, 1): how much a row teaches; 0 on a query row.
    """

    labels: Tensor
    signs: Tensor
    weight: Tensor


class Verdict(NamedTuple):
    """What a layer makes of the rows that it was shown.

    Attributes
    ----------
    goodness
        (n, C): goodness of every label hypothesis.
    believed
        (n, C): goodness summed over the layers so far.
    targets
        (n, t) int64: labels whose goodness is to move.
    shown
        (n, t): their goodness.
    delta, context
        Slope of the layer's loss with respect to its activations (n, q, u), and the gradient of its top-down weights
        (C, u) where it has any; both scaled by what each row teaches.
    onward
        (n, p, u): normalised, centred activities: the inputs of the next layer.
    """

    goodness: Tensor
    believed: Tensor
    targets: Tensor
    shown: Tensor
    delta: Tensor
    context: Tensor | None
    onward: Tensor


def judge(
    coding: Coding,
    threshold: float,
    activation: Tensor,
    believed: Tensor,
    trust: Tensor,
    noise: Tensor,
    teaching: Teaching,
    centre: Tensor,
) -> Verdict:
    """Judge activations: score every label, say how the weights should move, and make the next layer's inputs.

    The loss of a row is ``softplus(threshold - g[y])`` where real goodness rises, plus
    ``softplus(g[negative] - threshold)`` where negative goodness falls (the paper, equation 1, as a likelihood). Its
    slope is ``p - 1`` at the true label and ``p`` at the negative one.

    Parameters
    ----------
    coding, threshold
        Of the layer.
    activation
        (n, p, u): ``inputs @ weight.T``.
    believed
        (n, C): goodness summed over the layers below.
    trust, noise
        Scalar and (n, C): from what the negative labels are drawn, see ``wrong_labels``.
    teaching
        The lesson.
    centre
        (u,): running mean of the normalised activities that go on; moved in place towards the rows learned from.
    """
    dtype = activation.dtype
    activation = activation.to(torch.promote_types(dtype, torch.float32))
    goodness, onward = coding.read(activation)
    believed = believed + goodness
    wrong = wrong_labels(believed * trust, teaching.labels, noise)
    targets = torch.where(teaching.signs > 0, teaching.labels, wrong)
    shown = goodness.gather(1, targets)
    real = probability_of_real(shown, threshold)
    # A query teaches nothing even where it is not finite, and 0 times infinity is not 0.
    teaches = teaching.weight > 0
    slope = torch.where(teaches, (real - teaching.signs) * teaching.weight, 0)
    delta, context = coding.delta(torch.where(teaches.unsqueeze(2), activation, 0), targets, slope)
    onward = enter(onward, centre, teaching.weight)
    return Verdict(goodness, believed, targets, shown, delta.to(dtype), context, onward.to(dtype))


def enter(rows: Tensor, centre: Tensor, weight: Tensor) -> Tensor:
    """Normalise rows (n, p, i) and take off their running mean, which the rows learned from move in place.

    The mean of rectified activities is a direction that all rows share. Left in, much of every update goes along it:
    one pass over MNIST in place costs two points of prequential accuracy without this.
    """
    x = normalise(rows) - centre
    # A query must not reach the mean even where it is not finite, and 0 times infinity is.
    centre.add_(torch.where(weight > 0, weight * x.mean(1), 0).sum(0), alpha=CENTRING)
    return x


def multiply(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply inputs (n, p, i) with weights (u, i); (n, p, u)."""
    return x @ weight.T


class Kernels(NamedTuple):
    """The functions that a sweep is made of, as they are written here or compiled (``ffstream.ff.fused``)."""

    multiply: Callable[[Tensor, Tensor], Tensor] = multiply
    judge: Callable[..., Verdict] = judge
    enter: Callable[[Tensor, Tensor, Tensor], Tensor] = enter


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
        self.centre = torch.zeros(
            len(weight), dtype=torch.promote_types(weight.dtype, torch.float32), device=weight.device
        )

    def judge(
        self, kernels: Kernels, x: Tensor, believed: Tensor, trust: Tensor, noise: Tensor, teaching: Teaching
    ) -> Verdict:
        """Multiply inputs (n, p, i) with the weights and judge the activations."""
        activation = kernels.multiply(x, self.weight)
        return kernels.judge(self.coding, self.threshold, activation, believed, trust, noise, teaching, self.centre)

    def gradient(self, verdict: Verdict, x: Tensor, m: int) -> LocalGradient:
        """Return the gradient of this layer's loss, summed over the first m rows, for inputs (n, p, i)."""
        targets = verdict.targets[:m]
        delta, inputs = verdict.delta[:m].flatten(0, 1), path_of(x[:m], targets).flatten(0, 1)
        return LocalGradient(delta, inputs, verdict.context, self.coding.blocks(targets, inputs))

    def state(self) -> dict[str, Tensor]:
        """Return every tensor of the layer that a checkpoint must hold, by name."""
        rule = {f"rule.{name}": tensor for name, tensor in self.rule.state().items()}
        return {
            "weight": self.weight,
            "centre": self.centre,
            **self.coding.parameters(),
            **self.coding.buffers(),
            **rule,
        }
