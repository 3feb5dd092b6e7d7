"""What lies between a layer's two products: how it judges its activations, and what it makes of them.

``judge`` is one pure function, which a compiler fuses into a single pass over the activations (``ffstream.ff.fused``).
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

# How far the running mean of a layer's inputs moves to each row that is learned from; more rows move it no further.
CENTRING, CENTRED = 0.003, 64
# How far a running threshold moves to the goodness of a step, and a unit's running mean activity.
THRESHOLDING, PEERING = 0.01, 0.1


@dataclass(frozen=True)
class Form:
    """What a layer is, beside what it learns.

    Attributes
    ----------
    coding, activation, goodness, criterion
        How labels meet activities, what units make of their inputs, what is good, and against what.
    threshold
        Goodness at which the layer calls a row real with probability one half; ``None`` where it runs along.
    grid
        Where the units lie.
    pool
        Places a side of which the most active goes on to the next layer.
    labels
        Number of labels of which the layer has a goodness.
    draws
        Whether a negative is the same input under another label.
    centring
        Whether the running mean is taken off what goes on.
    peer
        How strongly a unit's mean activity is drawn to that of its layer.
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
    """Running statistics of a layer, which judging moves in place.

    Attributes
    ----------
    centre
        (c,): mean of the normalised activities that go on; of each unit, or of each channel of a convolution.
    thresholds
        (2,): mean goodness of real data and of negatives.
    activity
        (c,): mean of each unit's activity on real data.
    taught
        (C,): sum of the slopes by which each label was taught.
    """

    centre: Tensor
    thresholds: Tensor
    activity: Tensor
    taught: Tensor


class Verdict(NamedTuple):
    """What a layer makes of the rows that it was shown.

    Attributes
    ----------
    goodness
        (n, C): goodness of every label hypothesis.
    believed
        (n, C): goodness summed over the layers so far.
    targets
        (n, t) int64: labels whose goodness is to rise or fall.
    shown, real
        (n, t): their goodness, and the probability that the layer calls them real.
    moved
        (n, t) int64: labels at whose goodness the loss slopes, or ``None`` for all.
    delta, label_weights
        Slope of the layer's loss with respect to its activations (n, q, places * units), and the gradient (C, u) of
        what its coding learns, where it learns anything; both scaled by what each row teaches.
    onward
        (n, p, places * units): normalised, centred activities: the inputs of the next layer.
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
    """Judge activations: score every label, say how the weights should move, and make the next layer's inputs.

    Parameters
    ----------
    form
        Of the layer.
    activation
        (n, p, places * units): what the weights made of the inputs.
    energy
        (n,): see ``Connection.energy``.
    believed
        (n, C): goodness summed over the layers below.
    trust, noise
        Scalar and (n, C): from what negative labels are drawn, see ``wrong_labels``.
    teaching
        The lesson.
    running
        Moved in place towards the rows learned from.
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
    # The path of a read-out, which comes last, is no label's.
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
    """Lead the slope of the loss at goodness back to the activations: ``delta = dL/dg * dg/dh * dh/da``."""
    # A query teaches nothing even where it is not finite, and 0 times infinity is not 0.
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
    """Slope of ``peer / 2 * sum_j (m_j - mean m)^2``, m the running mean activity of each unit on real data.

    The paper, section 3.2, "peer normalization": without it some units are always on and others never.
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
    """Move the running goodness of real data and of negatives to what this step showed; none of a sign moves none."""
    teaches = (teaching.weight > 0).expand_as(shown)
    signs = torch.stack([teaches & (teaching.signs > 0), teaches & (teaching.signs <= 0)])
    counts = signs.sum((1, 2))
    means = torch.where(signs, shown, 0).sum((1, 2)) / counts.clamp(min=1)
    thresholds.lerp_(means, THRESHOLDING * (counts > 0).to(means.dtype))


def send_on(form: Form, rows: Tensor, centre: Tensor, weight: Tensor | None) -> Tensor:
    """Make the next layer's inputs of activities (n, p, places * units)."""
    if form.pool > 1:
        grid = form.grid
        images = rows.reshape(-1, grid.height, grid.width, grid.units).permute(0, 3, 1, 2)
        pooled = functional.max_pool2d(images, form.pool).permute(0, 2, 3, 1)
        rows = pooled.reshape(*rows.shape[:2], math.prod(pooled.shape[1:]))
    return enter(rows, centre, weight) if form.centring else normalise(rows)


def enter(rows: Tensor, centre: Tensor, weight: Tensor | None) -> Tensor:
    """Normalise rows (n, p, i) and take off their running mean, which the rows learned from move in place.

    The mean of rectified activities is a direction that all rows share. Left in, much of every update goes along it:
    one pass over MNIST in place costs two points of prequential accuracy without this.

    Parameters
    ----------
    centre
        (c,): c is i, or the channels of each of the places that the row has.
    weight
        (n, 1): how much each row teaches; ``None``: nothing.
    """
    x = _by_channel(normalise(rows), len(centre)) - centre
    if weight is not None:
        # A query must not reach the mean even where it is not finite, and 0 times infinity is.
        moved = torch.where(weight > 0, weight * x.mean((1, 2)), 0).sum(0)
        centre.add_(moved * (CENTRING * CENTRED / weight.sum().clamp(min=CENTRED)))
    return x.flatten(2)


def _by_channel(rows: Tensor, channels: int) -> Tensor:
    """See flat rows (n, p, i) place by place; (n, p, i / channels, channels)."""
    return rows.view(*rows.shape[:2], rows.shape[2] // channels, channels)
