"""The loop through a span of layers that predicts and learns, and a shorter one for queries only.

``flow`` and ``read`` run uncompiled or compiled (``ffstream.ff.fused``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ffstream.ff.goodness import normalise
from ffstream.ff.judging import enter
from ffstream.ff.layers import Layer
from ffstream.ff.lesson import Teaching

# Number of layers that are compiled together. Each call of a compiled function has a cost, but so has compiling many
# layers; and what one call passes to the next stays in memory during that call, so a deep network takes more memory.
TOGETHER = 2


class Entry(NamedTuple):
    """Preprocessing of rows for the first layer.

    Attributes
    ----------
    centre
        (i,): running mean of the normalized rows, moved by learned rows; ``None`` if it is not subtracted.
    dtype
        Type of the weights.
    """

    centre: Tensor | None
    dtype: torch.dtype

    def open(self, paths: Tensor, weight: Tensor | None = None) -> Tensor:
        """Turn paths (n, p, i) into the first layer's inputs; ``weight`` (n, 1) weighs the rows in the running mean."""
        rows = normalise(paths) if self.centre is None else enter(paths, self.centre, weight)
        return rows.to(self.dtype)


class Span(NamedTuple):
    """Consecutive layers that are compiled as a whole or not at all.

    Attributes
    ----------
    layers
        The layers, the lowest first.
    trust
        One factor per layer, see ``Network.trust``.
    reads
        True for each layer that a read-out reads.
    entry
        Preprocessing of rows, if the span holds the first layer; else ``None``.
    """

    layers: tuple[Layer, ...]
    trust: tuple[Tensor, ...]
    reads: tuple[bool, ...]
    entry: Entry | None

    @property
    def compiles(self) -> bool:
        """True if the span is faster compiled."""
        return self.layers[0].compiles


def part(
    layers: Sequence[Layer], trust: Sequence[Tensor], reads: Sequence[bool], entry: Entry, *, first_alone: bool
) -> list[Span]:
    """Split layers into spans, each of which is compiled as a whole or not at all.

    Parameters
    ----------
    layers, trust, reads, entry
        See ``Span``.
    first_alone
        True if the first layer must be its own span, because the caller needs its output.
    """
    starts = [0]
    for depth in range(1, len(layers)):
        full = depth - starts[-1] == TOGETHER or (first_alone and depth == 1)
        if full or layers[depth].compiles != layers[depth - 1].compiles:
            starts.append(depth)
    ends = [*starts[1:], len(layers)]
    return [
        Span(tuple(layers[a:b]), tuple(trust[a:b]), tuple(reads[a:b]), None if a else entry)
        for a, b in zip(starts, ends, strict=True)
    ]


class Passed(NamedTuple):
    """Result of a span: scores, and as wide as a layer only what goes on or what a read-out reads.

    Attributes
    ----------
    onward
        (n, p, w): the inputs of the next layer.
    believed
        (n, C): goodness summed over all layers so far.
    goodness, shown, real
        (n, layers, C), and twice (n, layers, t): as in a layer's ``Verdict``; ``read`` leaves the last two empty.
    activities
        Inputs of a read-out: (n, w) of each layer that it reads.
    """

    onward: Tensor
    believed: Tensor
    goodness: Tensor
    shown: Tensor
    real: Tensor
    activities: list[Tensor]


def flow(span: Span, x: Tensor, believed: Tensor | None, noise: Tensor, teaching: Teaching, taught: Tensor) -> Passed:
    """Send rows through the layers once: each layer scores all rows, then learns from the first ones.

    A layer scores with the weights that it had when the rows reached it. No row's scores depend on whether another row
    is learned from.

    Parameters
    ----------
    x
        (n, p, i): paths of the rows if the span holds the first layer, else the output of the layer below.
    believed
        (n, C): goodness summed over the layers below; ``None`` if there are none.
    noise
        (layers, n, C): noise that negative labels are drawn with.
    teaching
        The lesson.
    taught
        Number of rows to learn from; a scalar on the host, so that a compiler does not treat it as a constant.
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    activities = []
    if span.entry is not None:
        x = span.entry.open(x, teaching.weight)
    if believed is None:
        believed = torch.zeros_like(noise[0])
    for depth, layer in enumerate(span.layers):
        verdict = layer.judge(x, believed, span.trust[depth], noise[depth], teaching)
        layer.learn(verdict, x, taught)
        found.append((verdict.goodness, verdict.shown, verdict.real))
        x, believed = verdict.onward, verdict.believed
        if span.reads[depth]:
            activities.append(x[:, -1])
    goodness, shown, real = (torch.stack(scores, 1) for scores in zip(*found, strict=True))
    return Passed(x, believed, goodness, shown, real, activities)


def read(span: Span, x: Tensor, believed: Tensor | None) -> Passed:
    """Send queries through the layers once: ``flow`` without anything that learns.

    Parameters
    ----------
    x, believed
        As in ``flow``.
    """
    found, activities = [], []
    if span.entry is not None:
        x = span.entry.open(x)
    if believed is None:
        believed = torch.zeros((), device=x.device)
    for layer, reads in zip(span.layers, span.reads, strict=True):
        goodness, _, x = layer.read(x)
        # The path of a read-out comes last and belongs to no label.
        goodness = goodness[:, : layer.form.labels]
        believed = believed + goodness
        found.append(goodness)
        if reads:
            activities.append(x[:, -1])
    goodness = torch.stack(found, 1)
    nothing = goodness[:0, :, :0]
    return Passed(x, believed, goodness, nothing, nothing, activities)
