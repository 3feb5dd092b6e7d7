"""Judging: everything that a layer computes between its two products.

``judge`` is one function, which a compiler fuses into a single pass over the activations (``ffstream.ff.fused``). Its
only side effect is to move the running statistics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.ff.activations import Activation
from ffstream.ff.criteria import Criterion, Judgement
from ffstream.ff.goodness import Goodness, Pool, normalise
from ffstream.ff.grid import Grid
from ffstream.ff.labels import Coding
from ffstream.ff.lesson import Teaching
from ffstream.ff.negatives import wrong_labels
from ffstream.ff.stepsize import Bound

# Share by which the running mean of a layer's inputs moves toward each learned row, and the number of rows in a step
# beyond which it moves no further.
CENTRING, CENTRED = 0.003, 64
# Shares by which a step moves a running threshold, and a unit's running mean activity.
THRESHOLDING, PEERING = 0.01, 0.1


@dataclass(frozen=True)
class Form:
    """Fixed properties of a layer.

    Attributes
    ----------
    coding, activation, goodness, criterion
        Label coding, activation function, goodness function, and what goodness is compared with.
    threshold
        Goodness at which the layer calls a row real with probability 1/2; ``None`` for a running threshold.
    grid
        Layout of the units.
    pool
        Side, in places, of the max-pooling window in front of the next layer.
    labels
        Number of labels that have a goodness in the layer.
    draws
        True if a negative is the same input under another label.
    centring
        True if the running mean is subtracted from what goes on.
    peer
        Strength with which a unit's mean activity is pulled toward that of its layer.
    bound
        Keeps a step from overshooting.
    """

    coding: Coding
    activation: Activation
    goodness: Goodness
    criterion: Criterion
    threshold: float | None
    grid: Grid
    pool: int
    labels: int
    draws: bool
    centring: bool
    peer: float
    bound: Bound


class Running(NamedTuple):
    """Running statistics of a layer, updated in place by judging.

    Attributes
    ----------
    centre
        (c,): mean of the normalized activities that go on, by unit, or by channel of a convolution.
    thresholds
        (2,): mean goodness of real data and of negatives.
    activity
        (c,): mean activity of each unit on real data.
    taught
        (C,): sum of the slopes by which each label was taught; (1,) where all labels share all units.
    """

    centre: Tensor
    thresholds: Tensor
    activity: Tensor
    taught: Tensor


class Verdict(NamedTuple):
    """Result of judging a layer's activations.

    Attributes
    ----------
    goodness
        (n, C): goodness of every label hypothesis.
    believed
        (n, C): goodness summed over the layers so far.
    targets
        (n, t) int64: labels whose goodness is to rise or fall.
    shown, real
        (n, t): goodness of the targets, and the probability that the layer calls them real.
    moved
        (n, t) int64: labels whose goodness the loss depends on, or ``None`` for all.
    delta, label_weights
        Gradient of the layer's loss with respect to its activations (n, q, places * units), and to the coding's
        parameters (C, u) if it has any; both scaled by the weight of each row.
    onward
        (n, p, places * units), fewer after pooling: normalized, centered activities, the inputs of the next layer.
    """

    goodness: Tensor
    believed: Tensor
    targets: Tensor
    shown: Tensor
    real: Tensor
    moved: Tensor | None
    delta: Tensor
    label_weights: Tensor | None
    onward: Tensor


def judge(
    form: Form,
    activation: Tensor,
    energy: Tensor | None,
    believed: Tensor,
    trust: Tensor,
    noise: Tensor,
    teaching: Teaching,
    running: Running,
) -> Verdict:
    """Judge activations: score every label, and compute the gradient and the next layer's inputs.

    Parameters
    ----------
    form
        Fixed properties of the layer.
    activation
        (n, p, places * units): product of the inputs and the weights.
    energy
        (n,): see ``Connection.energy``.
    believed
        (n, C): goodness summed over the layers below.
    trust, noise
        Scalar and (n, C), from which negative labels are drawn; see ``wrong_labels``.
    teaching
        The lesson.
    running
        Running statistics, moved in place toward the learned rows.
    """
    dtype = activation.dtype
    activation = form.grid.part(activation.to(torch.promote_types(dtype, torch.float32)))
    pool, hypotheses = form.coding.pool(), form.coding.hypotheses(activation)
    hidden = form.activation.value(hypotheses)
    goodness = form.goodness.read(hidden, pool)[..., : believed.shape[1]]
    felt = goodness.mean(1)
    believed = believed + felt
    signs = teaching.signs.expand(len(activation), -1)
    teaching = teaching._replace(signs=signs)
    targets = teaching.labels.expand_as(signs)
    if form.draws:
        wrong = wrong_labels(believed * trust, teaching.labels, noise)
        targets = torch.where(signs > 0, targets, wrong)
    shown = felt.gather(1, targets)
    threshold = running.thresholds.mean() if form.threshold is None else form.threshold
    judgement = form.criterion(goodness, targets, signs, threshold)
    # The path of a read-out comes last and belongs to no label.
    paths = activation[:, : form.labels]
    delta, label_weights = _slopes(form, pool, paths, goodness, energy, targets, judgement, teaching, running)
    if form.threshold is None:
        _run_along(running.thresholds, shown, teaching)
    trunk = hidden if hypotheses is activation else form.activation.value(activation)
    onward = send_on(form, form.grid.join(trunk), running.centre, teaching.weight)
    moved, real = judgement.moved, judgement.real
    return Verdict(felt, believed, targets, shown, real, moved, delta.to(dtype), label_weights, onward.to(dtype))


def _slopes(
    form: Form,
    pool: Pool,
    activation: Tensor,
    goodness: Tensor,
    energy: Tensor | None,
    targets: Tensor,
    judgement: Judgement,
    teaching: Teaching,
    running: Running,
) -> tuple[Tensor, Tensor | None]:
    """Carry the gradient of the loss from goodness back to the activations: ``delta = dL/dg * dg/dh * dh/da``."""
    # A query must teach nothing even if it is not finite, and 0 times infinity is not 0.
    teaches = teaching.weight > 0
    slope = judgement.slope * (teaching.weight / judgement.slope.shape[1]).unsqueeze(2)
    slope = torch.where(teaches.unsqueeze(2), slope, 0)
    slope = form.bound.temper(slope, judgement.moved, pool, goodness, energy, running.taught)
    at = form.coding.at(torch.where(teaches[..., None, None, None], activation, 0), judgement.moved)
    hidden = form.activation.value(at)
    rise = form.goodness.slope(hidden, pool, judgement.moved, slope)
    if form.peer:
        rise = rise + _peers(form, hidden, targets, judgement, teaching, running)
    delta = rise * form.activation.slope(at)
    delta, label_weights = form.coding.collect(delta, hidden, judgement.moved, slope, form.goodness)
    return form.grid.join(delta), label_weights


def _peers(
    form: Form, hidden: Tensor, targets: Tensor, judgement: Judgement, teaching: Teaching, running: Running
) -> Tensor:
    """Return the gradient of ``peer / 2 * sum_j (m_j - mean m)^2``, m_j the running mean activity on real data.

    This is "peer normalization" (the paper, section 3.2): without it some units are always on and others never.
    """
    raised = teaching.signs
    if judgement.moved is None:
        raised = functional.one_hot(targets, judgement.slope.shape[2]).to(raised.dtype) * raised.unsqueeze(2)
        raised = raised.sum(1)
    raised = raised.amax(1, keepdim=True) if hidden.shape[1] == 1 else raised
    counts = (raised * teaching.weight)[..., None]
    rows = _by_channel(form.grid.join(form.coding.part(hidden)), len(running.activity))
    mean = (rows.mean(2) * counts).sum((0, 1)) / counts.sum().clamp(min=1e-12)
    running.activity.lerp_(mean, PEERING * (counts.sum() > 0).to(mean.dtype))
    pull = (running.activity - running.activity.mean()) * (form.peer / rows.shape[2])
    pulls = form.grid.part(pull.repeat(rows.shape[2])[None, None])
    return form.coding.lay(pulls) * counts[..., None, None]


def _run_along(thresholds: Tensor, shown: Tensor, teaching: Teaching) -> None:
    """Move the running goodness of real data and of negatives toward this step's; a sign without rows stays."""
    teaches = (teaching.weight > 0).expand_as(shown)
    signs = torch.stack([teaches & (teaching.signs > 0), teaches & (teaching.signs <= 0)])
    counts = signs.sum((1, 2))
    means = torch.where(signs, shown, 0).sum((1, 2)) / counts.clamp(min=1)
    thresholds.lerp_(means, THRESHOLDING * (counts > 0).to(means.dtype))


def send_on(form: Form, rows: Tensor, centre: Tensor, weight: Tensor | None) -> Tensor:
    """Turn activities (n, p, places * units) into the next layer's inputs."""
    if form.pool > 1:
        grid = form.grid
        images = rows.reshape(-1, grid.height, grid.width, grid.units).permute(0, 3, 1, 2)
        pooled = functional.max_pool2d(images, form.pool).permute(0, 2, 3, 1)
        rows = pooled.reshape(*rows.shape[:2], math.prod(pooled.shape[1:]))
    return enter(rows, centre, weight) if form.centring else normalise(rows)


def enter(rows: Tensor, centre: Tensor, weight: Tensor | None) -> Tensor:
    """Normalize rows (n, p, i) and subtract their running mean, which the learned rows move in place.

    The mean of rectified activities is a direction that all rows share. If it stays in, much of every update goes along
    it: without centering, one pass over MNIST under ``in_place`` loses two points of prequential accuracy.

    Parameters
    ----------
    centre
        (c,): c is i, or the number of channels at each place of the row.
    weight
        (n, 1): weight of each row in learning; ``None`` to learn nothing.
    """
    x = _by_channel(normalise(rows), len(centre)) - centre
    if weight is not None:
        # A query must not change the mean even if it is not finite, and 0 times infinity is not 0.
        moved = torch.where(weight > 0, weight * x.mean((1, 2)), 0).sum(0)
        centre.add_(moved * (CENTRING * CENTRED / weight.sum().clamp(min=CENTRED)))
    return x.flatten(2)


def _by_channel(rows: Tensor, channels: int) -> Tensor:
    """View flat rows (n, p, i) place by place; (n, p, i / channels, channels)."""
    return rows.view(*rows.shape[:2], rows.shape[2] // channels, channels)
