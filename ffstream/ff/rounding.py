"""How a small step reaches bfloat16 weights.

bfloat16 keeps 8 bits of a weight, so a step smaller than 1/256 of it rounds to nothing. Three ways, beside the plain
sum for weights that are not rounded at all:

============  =========================================  ==================================================
rounding      memory a weight                            a step too small to show
============  =========================================  ==================================================
nearest       2 bytes                                    is lost
stochastic    2 bytes                                    shows with the chance that makes its mean right
master        6 bytes: a float32 copy takes the sum      is kept until it shows
============  =========================================  ==================================================
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

ALL = slice(None)
# Seeds of layers, and of torch's generator, which looks at 32 bits of what it is given.
LAYER_SEEDS, SEEDS = 2**22, 2**32
# Knuth's multiplier, which spreads the seeds of layers far apart: their steps count on from there.
SPREAD = 2_654_435_761

Rounding = Literal["nearest", "stochastic", "master"]


class Adder(Protocol):
    """Adds matrix products to one layer's weights.

    Attributes
    ----------
    weight
        (u, i): what the layer multiplies with.
    exact
        (u, i): what a rule with a state of its own changes; ``settle`` makes ``weight`` follow.
    """

    weight: Tensor
    exact: Tensor

    def add(self, left: Tensor, right: Tensor, scale: float, units: slice = ALL) -> None:
        """Add ``scale * left.T @ right``, of (k, units) and (k, i), to the weights of some units in place."""

    def add_formed(self, gradient: Tensor, scale: float) -> None:
        """Add ``scale`` times a matrix (u, i) to the weights in place."""

    def hold(self, norms: Tensor) -> None:
        """Scale the weights of each unit to a norm, (u,)."""

    def settle(self) -> None:
        """Round what was changed in ``exact``."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors beside the weights that a checkpoint must hold, by name."""


class Nearest:
    """One call, in the precision of the weights."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = self.exact = weight

    def add(self, left: Tensor, right: Tensor, scale: float, units: slice = ALL) -> None:
        weight = self.weight if units is ALL else self.weight[units]
        weight.addmm_(left.t(), right, alpha=scale)

    def add_formed(self, gradient: Tensor, scale: float) -> None:
        self.weight.add_(gradient, alpha=scale)

    def hold(self, norms: Tensor) -> None:
        self.weight.mul_(_factors(self.weight, norms))

    def settle(self) -> None:
        pass

    def state(self) -> dict[str, Tensor]:
        return {}


class Stochastic:
    """Round up or down with the chances that make the mean right (Gupta et al. 2015, arXiv 1502.02551, section 3)."""

    def __init__(self, weight: Tensor, seed: int) -> None:
        self.weight = self.exact = weight
        self._sum = torch.empty_like(weight, dtype=torch.float32)
        self._noise = torch.empty_like(weight, dtype=torch.int32)
        self._generator = torch.Generator(weight.device)
        # A step draws from the layer's seed and its number, so that a replay repeats it.
        self._seed, self._steps = seed, torch.zeros((), dtype=torch.int64)

    def add(self, left: Tensor, right: Tensor, scale: float, units: slice = ALL) -> None:
        total = self._sum[units]
        total.copy_(self.weight[units]).addmm_(left.float().T, right.float(), alpha=scale)
        self._round(total, units)

    def add_formed(self, gradient: Tensor, scale: float) -> None:
        self._round(self._sum.copy_(self.weight).add_(gradient, alpha=scale), ALL)

    def hold(self, norms: Tensor) -> None:
        self._round(self._sum.copy_(self.weight).mul_(_factors(self._sum, norms)), ALL)

    def settle(self) -> None:
        pass

    def _round(self, total: Tensor, units: slice) -> None:
        self._steps += 1
        self._generator.manual_seed((self._seed * SPREAD + int(self._steps)) % SEEDS)
        # The lower half of a float32 is what bfloat16 cuts off: noise added to it carries into the upper half with
        # just the chance that it stands for.
        noise = self._noise[units].random_(2**16, generator=self._generator)
        total.view(torch.int32).add_(noise).bitwise_and_(-(2**16))
        self.weight[units].copy_(total)

    def state(self) -> dict[str, Tensor]:
        return {"rounded": self._steps}


class Master:
    """Keep the sum in float32, and multiply with a rounded copy of it."""

    def __init__(self, weight: Tensor, master: Tensor) -> None:
        self.weight = weight
        self.exact = master

    def add(self, left: Tensor, right: Tensor, scale: float, units: slice = ALL) -> None:
        self.exact[units].addmm_(left.float().T, right.float(), alpha=scale)
        self.weight[units].copy_(self.exact[units])

    def add_formed(self, gradient: Tensor, scale: float) -> None:
        self.weight.copy_(self.exact.add_(gradient, alpha=scale))

    def hold(self, norms: Tensor) -> None:
        self.weight.copy_(self.exact.mul_(_factors(self.exact, norms)))

    def settle(self) -> None:
        self.weight.copy_(self.exact)

    def state(self) -> dict[str, Tensor]:
        return {"master": self.exact}


def make_adder(weight: Tensor, dtype: torch.dtype, rounding: Rounding, seed: int) -> Adder:
    """Hold float32 weights (u, i) in a precision, with a way of rounding to it."""
    held = weight.to(dtype)
    if dtype == torch.float32 or rounding == "nearest":
        return Nearest(held)
    return Master(held, weight) if rounding == "master" else Stochastic(held, seed)


def _factors(weight: Tensor, norms: Tensor) -> Tensor:
    """Return by what each unit's weights (u, i) must be multiplied to have its norm; (u, 1)."""
    now: Tensor = torch.linalg.vector_norm(weight.float(), dim=1)
    return (norms / now.clamp(min=1e-12)).unsqueeze(1)
