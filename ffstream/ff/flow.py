"""The one loop that predicts and learns, as it goes through some layers; and the shorter one of queries alone.

``flow`` and ``read`` run as they are written, or compiled (``ffstream.ff.fused``).
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

# Layers that are compiled together. Each call of a compiled function has a price, but so has compiling many layers; and
# what one call gives to the next stays in memory for as long as that takes, so that a deep network takes more.
TOGETHER = 2


class Entry(NamedTuple):
    """How rows enter the first layer.

    Attributes
    ----------
    centre
        (i,): running mean of the normalised rows, which those learned from move; ``None`` where none is taken off.
    dtype
        Of the weights.
    """

    centre: Tensor | None
    dtype: torch.dtype

    def open(self, paths: Tensor, weight: Tensor | None = None) -> Tensor:
        """Make of paths (n, p, i) the first layer's inputs; ``weight`` (n, 1): how much each row moves their mean."""
        rows = normalise(paths) if self.centre is None else enter(paths, self.centre, weight)
        return rows.to(self.dtype)


class Span(NamedTuple):
    """Some layers, one on top of another.

    Attributes
    ----------
    layers
        From below.
    trust
        What each layer's negative labels make of the goodness summed so far: its mean, or nothing.
    reads
        Whether a read-out reads each layer.
    entry
        Where they are the first: how rows enter.
    """

    layers: tuple[Layer, ...]
    trust: tuple[Tensor, ...]
    reads: tuple[bool, ...]
    entry: Entry | None

    @property
    def compiles(self) -> bool:
        """Whether they are faster compiled."""
        return self.layers[0].compiles


def part(
    layers: Sequence[Layer], trust: Sequence[Tensor], reads: Sequence[bool], entry: Entry, *, first_alone: bool
) -> list[Span]:
    """Part layers into spans, of which each is compiled as a whole or not at all.

    Parameters
    ----------
    layers, trust, reads, entry
        See ``Span``.
    first_alone
        Whether the first layer is a span of its own, since somebody wants to see what it sends on.
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
    """What layers leave behind: scores, and nothing as wide as a layer but what goes on or a read-out reads.

    Attributes
    ----------
    onward
        (n, p, w): the inputs of the next layer.
    believed
        (n, C): goodness summed over all layers so far.
    goodness, shown, real
        (n, layers, C), and twice (n, layers, t): as a layer's ``Verdict`` has them; empty where rows were only read.
    activities
        What a read-out reads; (n, w) of each layer that it reads.
    """

    onward: Tensor
    believed: Tensor
    goodness: Tensor
    shown: Tensor
    real: Tensor
    activities: list[Tensor]


def flow(span: Span, x: Tensor, believed: Tensor | None, noise: Tensor, teaching: Teaching, taught: Tensor) -> Passed:
    """Send rows through layers once: each scores all of them, then learns from the first ones.

    A layer scores with the weights that it had when the rows reached it. No row's scores depend on whether another row
    is learned from.

    Parameters
    ----------
    x
        (n, p, i): rows as they were sent where the layers are the first ones, else what the layer below sent on.
    believed
        (n, C): goodness summed over the layers below, where there are any.
    noise
        (layers, n, C): what negative labels are drawn with.
    teaching
        What is to be learned.
    taught
        How many of the rows are learned from; a scalar on the host, so that a compiler takes no number for a constant.
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
    """Send rows through layers once and learn nothing: ``flow`` of queries alone, with all left out that teaches.

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
        # The path of a read-out, which comes last, is no label's.
        goodness = goodness[:, : layer.form.labels]
        believed = believed + goodness
        found.append(goodness)
        if reads:
            activities.append(x[:, -1])
    goodness = torch.stack(found, 1)
    nothing = goodness[:0, :, :0]
    return Passed(x, believed, goodness, nothing, nothing, activities)
