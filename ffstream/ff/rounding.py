"""Rounding of small steps to bfloat16 weights.

bfloat16 keeps 8 bits of a weight, so a step smaller than 1/256 of it rounds to nothing. Besides the plain sum, for
weights that are not rounded at all, there are three ways:

============  =========================================  ==================================================
rounding      memory per weight                          a step too small to show
============  =========================================  ==================================================
nearest       2 bytes                                    is lost
stochastic    2 bytes                                    shows at random, so that its mean is right
master        6 bytes: a float32 copy takes the sum      is kept until it shows
============  =========================================  ==================================================
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor

ALL = slice(None)
# Number of layer seeds, and of seeds of torch's generator, which uses 32 bits of a seed.
LAYER_SEEDS, SEEDS = 2**22, 2**32
# Knuth's multiplier, which spreads the seeds of layers far apart: the steps of a layer count up from its seed.
SPREAD = 2_654_435_761

Rounding = Literal["nearest", "stochastic", "master"]


class Adder(Protocol):
    """Adds matrix products to one layer's weights.

    Attributes
    ----------
    weight
        (u, i): matrix of the forward pass.
    exact
        (u, i): matrix that rules with their own state change; ``settle`` then updates ``weight``.
    """

    weight: Tensor
    exact: Tensor

    def add(self, left: Tensor, right: Tensor, scale: float, units: slice = ALL) -> None:
        """Add ``scale * left.T @ right``, from (k, units) and (k, i), to the weights of some units in place."""

    def add_formed(self, gradient: Tensor, scale: float) -> None:
        """Add ``scale`` times a matrix (u, i) to the weights in place."""

    def hold(self, norms: Tensor) -> None:
        """Scale the weights of each unit to its norm; ``norms`` is (u,)."""

    def settle(self) -> None:
        """Round ``exact`` into ``weight``."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors other than the weights that a checkpoint must hold, by name."""


class Nearest:
    """Adds in one call, in the precision of the weights."""

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
    """Rounds up or down at random so that the mean is right (Gupta et al. 2015, arXiv 1502.02551, section 3)."""

    def __init__(self, weight: Tensor, seed: int) -> None:
        self.weight = self.exact = weight
        self._sum = torch.empty_like(weight, dtype=torch.float32)
        self._noise = torch.empty_like(weight, dtype=torch.int32)
        self._generator = torch.Generator(weight.device)
        # Each step draws from the layer's seed and the step's number, so that a replay repeats it.
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
        # bfloat16 cuts off the lower half of a float32. Noise added to that half carries into the upper half with
        # exactly the probability that the half represents.
        noise = self._noise[units].random_(2**16, generator=self._generator)
        total.view(torch.int32).add_(noise).bitwise_and_(-(2**16))
        self.weight[units].copy_(total)

    def state(self) -> dict[str, Tensor]:
        return {"rounded": self._steps}


class Master:
    """Keeps the sum in float32, and a rounded copy of it for the forward pass."""

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
    """Convert float32 weights (u, i) to ``dtype``, and return their adder for a way of rounding."""
    held = weight.to(dtype)
    if dtype == torch.float32 or rounding == "nearest":
        return Nearest(held)
    return Master(held, weight) if rounding == "master" else Stochastic(held, seed)


def _factors(weight: Tensor, norms: Tensor) -> Tensor:
    """Return the factors that scale each unit's weights (u, i) to its norm; (u, 1)."""
    now: Tensor = torch.linalg.vector_norm(weight.float(), dim=1)
    return (norms / now.clamp(min=1e-12)).unsqueeze(1)
