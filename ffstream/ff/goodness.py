"""Goodness: a layer's measure of how real its input is (Hinton 2022, arXiv 2212.13345, section 2).

============  =====================================================================  =================================
goodness      of the units S that count for a label                                  source
============  =====================================================================  =================================
squares       temperature times the mean of h²                                       the paper, section 2
minimised     the same with the sign flipped: low for real data                      the paper, section 2, footnote
mean          temperature times the mean of h                                        the paper, section 8
ratio         temperature times P / (P + N): mean squares of S and of the others     SFFA, arXiv 2409.07387, section 3
topk          temperature times the mean of the largest h² of S                      arXiv 2212.13345, section 8
============  =====================================================================  =================================

The layer calls a row real with probability ``sigmoid(goodness - threshold)``, or ``softmax(goodness)`` over labels
(``ffstream.ff.criteria``). Between layers a row is divided by its root mean square, so that a layer cannot read the
goodness of the layer below off the length of its output.

Shapes: rows n, paths p, regions r, places of a region l, units of a place u, labels C, moved labels t (see
``ffstream.ff.labels``). Each goodness function computes goodness from activities, and the slope of the loss at the
activities from its slope at goodness, in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

# Far below the mean square of any sensible row, so that only a row of zeros stays unnormalized.
EPSILON = 1e-20
# Factor by which the steps of a goodness that learns from few of its samples are larger.
SLOW = 3


def normalise(rows: Tensor) -> Tensor:
    """Divide each row by its root mean square; (..., width) -> (..., width), mean square 1.

    The paper divides by the length. The two differ by the constant ``sqrt(width)``, which keeps the inputs of a
    wide layer at unit scale. A row of zeros stays a row of zeros.
    """
    return functional.rms_norm(rows, rows.shape[-1:], eps=EPSILON)


class Pool(NamedTuple):
    """Assignment of units to labels, and the mean over a label's units.

    Attributes
    ----------
    share
        (C, u), rows summing to 1, where each label has its own units; (1, u) where each label has its own path.
    size
        Number of units per place that count for a label.
    run
        Length of the labels' runs of consecutive units, whose means fuse with the rest of the layer; 0 where units
        are shared and a matrix product is needed.
    """

    share: Tensor
    size: int
    run: int = 0

    def read(self, values: Tensor) -> Tensor:
        """Average values (n, p, r, l, u) over each label's units and over places; (n, r, C)."""
        values = values.mean(3)
        if self.run:
            labels = len(self.share)
            means = values[..., : labels * self.run].view(*values.shape[:-1], labels, self.run).mean(-1)
        elif len(self.share) == 1:
            means = (values * self.share[0]).sum(-1, keepdim=True)
        else:
            means = values @ self.share.T
        return self.by_label(means)

    def by_label(self, means: Tensor) -> Tensor:
        """Arrange means (n, p, r, C or 1) by label, from units or from paths; (n, r, C)."""
        return means.transpose(1, 2).flatten(2)

    def spread(self, moved: Tensor | None, slope: Tensor) -> Tensor:
        """Distribute slopes (n, r, t) at the means of labels ``moved`` (n, t) to units; (n, 1 or t, r, 1, u).

        ``None`` moves all labels.
        """
        if len(self.share) == 1:
            return slope.transpose(1, 2)[..., None, None] * self.share
        if moved is None:
            return (slope @ self.share)[:, None, :, None]
        return (self.share[moved].unsqueeze(1) * slope.unsqueeze(3)).sum(2)[:, None, :, None]

    def crowd(self, rows: Tensor) -> Tensor:
        """Return the number of rows that teach each label's units, given the number per label; (C,) -> (C,).

        Where units count for several labels, the result is the mean over a label's units.
        """
        if self.run:
            return rows
        if len(self.share) == 1:
            return rows.sum().expand_as(rows)
        share = self.share.abs()
        return share @ (rows @ share) / share.square().sum(1)

    def counted(self) -> float:
        """Return the effective number of units per label (the inverse sum of squared shares), averaged over labels."""
        return float((self.share.square().sum(1).reciprocal()).mean())

    def owned(self) -> Tensor:
        """Return a mask of the units that count for each label, in the shape of ``share``."""
        return self.share > 0

    def rest(self) -> Pool:
        """Return the pool of the units that do not count for a label."""
        others = (~self.owned()).to(self.share.dtype)
        return Pool(others / others.sum(1, keepdim=True).clamp(min=1), self.share.shape[1] - self.size)

    def of(self, moved: Tensor | None, values: Tensor) -> Tensor:
        """Pick labels ``moved`` (n, t) out of values (n, r, C); where labels are paths, these are picked already."""
        if moved is None or len(self.share) == 1:
            return values
        return values.gather(2, moved.unsqueeze(1).expand(-1, values.shape[1], -1))


class Goodness(Protocol):
    """Computes goodness (n, r, C) by label from activities (n, p, r, l, u), and carries slopes back.

    Attributes
    ----------
    degree
        Power of the activities with which goodness grows.
    """

    @property
    def degree(self) -> float: ...

    def read(self, hidden: Tensor, pool: Pool) -> Tensor:
        """Return the goodness of every label in every region, (n, r, C)."""

    def slope(self, hidden: Tensor, pool: Pool, moved: Tensor | None, slope: Tensor) -> Tensor:
        """Turn slopes (n, r, t) at the goodness of labels ``moved`` into slopes at the activities, in their shape."""

    def steepness(self, units: float) -> float:
        """Return the slope of a label's goodness at one of its ``units`` units, with all activities at 1."""


class Mean(NamedTuple):
    """Temperature times the mean of a function of each activity; a negative temperature means ``minimised``."""

    temperature: float
    measure: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    degree: float

    def read(self, hidden: Tensor, pool: Pool) -> Tensor:
        return self.temperature * pool.read(self.measure(hidden))

    def slope(self, hidden: Tensor, pool: Pool, moved: Tensor | None, slope: Tensor) -> Tensor:
        return self.derivative(hidden) * pool.spread(moved, slope * (self.temperature / hidden.shape[3]))

    def steepness(self, units: float) -> float:
        slope = abs(self.temperature) * float(self.derivative(torch.ones(()))) / units
        # Real data is on the right side of a minimised threshold from the start, so only negatives teach.
        return slope / SLOW if self.temperature < 0 else slope

    def by_unit(self, hidden: Tensor) -> Tensor:
        """Return each unit's contribution to goodness, from activities of one path (n, 1, r, l, u); (n, r, u)."""
        return self.temperature * self.measure(hidden).mean(3)[:, 0]


class Ratio(NamedTuple):
    """Temperature times the share of a label's units in the activity: ``P / (P + N)``, of mean squares."""

    temperature: float
    degree: float = 0

    def read(self, hidden: Tensor, pool: Pool) -> Tensor:
        positive, other = self._squares(hidden, pool)
        return self.temperature * positive / (positive + other + EPSILON)

    def slope(self, hidden: Tensor, pool: Pool, moved: Tensor | None, slope: Tensor) -> Tensor:
        positive, other = (pool.of(moved, squares) for squares in self._squares(hidden, pool))
        # Divide twice, because the square of the smallest sum underflows float32: a row that silences all units must
        # have a slope of 0.
        both = positive + other + EPSILON
        scale = slope * (2 * self.temperature / hidden.shape[3])
        up = pool.spread(moved, scale * (other / both) / both)
        down = pool.rest().spread(moved, scale * (positive / both) / both)
        return hidden * (up - down)

    def steepness(self, units: float) -> float:
        # With all activities at 1, both mean squares are 1.
        return self.temperature / (2 * units)

    def _squares(self, hidden: Tensor, pool: Pool) -> tuple[Tensor, Tensor]:
        square = hidden.square()
        return pool.read(square), pool.rest().read(square)


class TopK(NamedTuple):
    """Temperature times the mean of the largest squares of a label's units, a fixed share of all."""

    temperature: float
    share: float
    degree: float = 2

    def read(self, hidden: Tensor, pool: Pool) -> Tensor:
        return self.temperature * pool.by_label(self._largest(hidden, pool).mean(-1))

    def slope(self, hidden: Tensor, pool: Pool, moved: Tensor | None, slope: Tensor) -> Tensor:
        largest = self._largest(hidden, pool)
        least = pool.of(moved, pool.by_label(largest[..., -1]))
        square = hidden.square()
        if len(pool.share) == 1:
            taken = pool.owned() & (square >= least.transpose(1, 2)[..., None, None])
            spread = taken * slope.transpose(1, 2)[..., None, None]
        else:
            owned = pool.owned().unsqueeze(0) if moved is None else pool.owned()[moved]
            # (n, r, t, l, u): units that are among the largest of a moved label.
            taken = owned[:, None, :, None] & (square[:, 0].unsqueeze(2) >= least[..., None, None])
            spread = (taken * slope[..., None, None]).sum(2).unsqueeze(1)
        return hidden * spread * (2 * self.temperature / largest.shape[-1])

    def steepness(self, units: float) -> float:
        # The largest units differ between samples, so only a few of a label's samples teach a given unit.
        return 2 * self.temperature / (SLOW * max(1, round(self.share * units)))

    def _largest(self, hidden: Tensor, pool: Pool) -> Tensor:
        """Return the largest squares of each row of the pool, in descending order; (n, p, r, C or 1, k)."""
        square = hidden.square()
        candidates = torch.where(pool.owned().unsqueeze(1), square.unsqueeze(3), -torch.inf).flatten(4)
        count = max(1, round(self.share * pool.size * hidden.shape[3]))
        return candidates.topk(count, -1).values


def make_goodness(name: str, temperature: float, top_share: float) -> Goodness:
    """Make the goodness function that a configuration names."""
    match name:
        case "ratio":
            return Ratio(temperature)
        case "topk":
            return TopK(temperature, top_share)
        case "mean":
            return Mean(temperature, _itself, torch.ones_like, 1)
        case _:
            return Mean(-temperature if name == "minimised" else temperature, torch.square, _twice, 2)


def _itself(hidden: Tensor) -> Tensor:
    return hidden


def _twice(hidden: Tensor) -> Tensor:
    return 2 * hidden
