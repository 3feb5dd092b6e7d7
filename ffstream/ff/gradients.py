"""Gradients of a layer's loss, in the form in which they arise.

"Compute the gradient" and "apply it" are two calls, so that an all-reduce can go between them, layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ffstream.ff.rounding import Adder


class Blocks(NamedTuple):
    """Rows sorted by the run of units that they teach; a row that teaches several runs is repeated.

    Attributes
    ----------
    counts
        Number of rows that teach each run of units.
    rows, runs
        (k,) int64: the rows, and the run that each teaches; ``None`` if there is only one row and run.
    """

    counts: list[int]
    rows: Tensor | None = None
    runs: Tensor | None = None

    def cut(self, delta: Tensor, inputs: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Cut slopes (n, u) and inputs (n, i) into blocks: a run's units, slopes (k, units) and inputs (k, i)."""
        width = delta.shape[1] // len(self.counts)
        if self.rows is None:
            units = _units(self.counts.index(1), width)
            yield units, delta[:, units], inputs
            return
        # Gather all rows at once, because each gather has its own overhead.
        owned = delta[:, : width * len(self.counts)].view(len(delta), -1, width)
        slopes = torch.split(owned[self.rows, self.runs], self.counts)
        seen = torch.split(inputs.index_select(0, self.rows), self.counts)
        for run, count in enumerate(self.counts):
            if count:
                yield _units(run, width), slopes[run], seen[run]


class LocalGradient(Protocol):
    """Gradient of one layer's loss with respect to its weights, or to its coding's parameters; (u, i)."""

    def add_to(self, adder: Adder, scale: float) -> None:
        """Add ``scale`` times the gradient to weights."""

    def accumulate(self, into: Tensor, keep: float, share: float) -> None:
        """Set ``into`` (u, i) to ``keep * into + share * gradient``."""

    def mean_squares(self) -> tuple[Tensor, Tensor]:
        """Return the mean square of each unit's share of the gradient (u,), and of each input's (i,)."""

    def scaled(self, units: Tensor, inputs: Tensor | None) -> LocalGradient:
        """Return the gradient scaled by ``units`` (u,) for each unit and by ``inputs`` (i,) for each input."""


@dataclass(frozen=True)
class Factors:
    """``delta.T @ inputs``, kept as its two factors: a rule without state adds it without forming it.

    Attributes
    ----------
    delta
        (k, u): slope of the loss with respect to the activation of each unit.
    inputs
        (k, i): the normalized inputs of those activations.
    blocks
        If given, ``delta`` is zero outside these blocks.
    """

    delta: Tensor
    inputs: Tensor
    blocks: Blocks | None = None

    def add_to(self, adder: Adder, scale: float) -> None:
        if self.blocks is None:
            adder.add(self.delta, self.inputs, scale)
            return
        for units, delta, inputs in self.blocks.cut(self.delta, self.inputs):
            adder.add(delta, inputs, scale, units)

    def accumulate(self, into: Tensor, keep: float, share: float) -> None:
        if into.dtype == self.delta.dtype:
            into.addmm_(self.delta.T, self.inputs, beta=keep, alpha=share)
        else:
            into.mul_(keep).add_(self.delta.T @ self.inputs, alpha=share)

    def mean_squares(self) -> tuple[Tensor, Tensor]:
        return self.delta.float().square().sum(0), self.inputs.float().square().mean(0)

    def scaled(self, units: Tensor, inputs: Tensor | None) -> LocalGradient:
        delta = (self.delta * units).to(self.delta.dtype)
        seen = self.inputs if inputs is None else (self.inputs * inputs).to(self.inputs.dtype)
        return Factors(delta, seen, self.blocks)


@dataclass(frozen=True)
class Formed:
    """The gradient (u, i) itself, for weights that see many places of a row, whose factors would be larger."""

    gradient: Tensor

    def add_to(self, adder: Adder, scale: float) -> None:
        adder.add_formed(self.gradient, scale)

    def accumulate(self, into: Tensor, keep: float, share: float) -> None:
        into.mul_(keep).add_(self.gradient, alpha=share)

    def mean_squares(self) -> tuple[Tensor, Tensor]:
        square = self.gradient.float().square()
        return square.mean(1), square.mean(0)

    def scaled(self, units: Tensor, inputs: Tensor | None) -> LocalGradient:
        gradient = self.gradient * units.unsqueeze(1)
        return Formed(gradient if inputs is None else gradient * inputs)


def _units(run: int, width: int) -> slice:
    return slice(run * width, (run + 1) * width)
