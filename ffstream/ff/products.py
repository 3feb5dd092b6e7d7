"""The product of inputs and weights, and the ways to compute it.

The fastest way depends on the processor, the shape and the number of rows; ``ffstream.ff.measured`` finds it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from ffstream.ff.internals import onednn_linear


class Way(StrEnum):
    """Ways to multiply rows with weights, the plainest first.

    Weights are stored unit by unit, or input by input. With the weights on the left, the product is transposed.
    """

    LINEAR = "linear"
    LINEAR_BY_INPUT = "linear-by-input"
    LINEAR_LEFT = "linear-left"
    ONEDNN = "onednn"
    ONEDNN_LEFT = "onednn-left"

    def multiply(self, rows: Tensor, weight: Tensor) -> Tensor:
        """Multiply rows (n, i) with weights (u, i); (n, u)."""
        return _MULTIPLY[self](rows, weight)

    def arrange(self, weight: Tensor) -> Tensor:
        """Return weights (u, i) in the memory layout for this way; the same tensor if they already have it."""
        return weight.T.contiguous().T if self is Way.LINEAR_BY_INPUT else weight.contiguous()


_MULTIPLY: dict[Way, Callable[[Tensor, Tensor], Tensor]] = {
    Way.LINEAR: functional.linear,
    Way.LINEAR_BY_INPUT: functional.linear,
    Way.LINEAR_LEFT: lambda rows, weight: functional.linear(weight, rows).T.contiguous(),
    Way.ONEDNN: onednn_linear,
    Way.ONEDNN_LEFT: lambda rows, weight: onednn_linear(weight, rows).T.contiguous(),
}


class Plan(NamedTuple):
    """Ways to multiply fewer than 16 rows, fewer than 49 rows, and more."""

    few: Way = Way.LINEAR
    some: Way = Way.LINEAR
    many: Way = Way.LINEAR

    def of(self, rows: int) -> Way:
        """Return the way for a number of rows."""
        return self.few if rows < 16 else self.some if rows < 49 else self.many

    def __str__(self) -> str:
        return self.few.value if self.few == self.some == self.many else "/".join(self)

    @property
    def plain(self) -> bool:
        """True if torch's own product serves every number of rows, so that a compiler may see it."""
        return self in (PLAIN, BY_INPUT)


PLAIN, BY_INPUT = Plan(), Plan(*[Way.LINEAR_BY_INPUT] * 3)


def multiply(x: Tensor, weight: Tensor, plan: Plan) -> Tensor:
    """Multiply inputs (…, i) with weights (u, i) in the layout of a plan; (…, u)."""
    if x.is_cuda:
        return x @ weight.T
    rows = x.flatten(0, -2)
    return plan.of(len(rows)).multiply(rows, weight).view(*x.shape[:-1], len(weight))


def multiply_plainly(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply inputs (n, p, i) with weights (u, i) by torch's own product, visible to a compiler; (n, p, u)."""
    return x @ weight.T if x.is_cuda else functional.linear(x.flatten(0, 1), weight).view(*x.shape[:2], len(weight))


def multiply_one(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply one row (1, 1, i); compiled, as fast as reading the weights; a BLAS takes up to 3 times as long."""
    return (weight.float() * x.float()[0]).sum(1).to(x.dtype).view(1, 1, -1)
