"""Rules that apply a layer's local gradient to its weights, in place.

Each layer has its own rule, because each layer learns as soon as its own output is known. At the batch sizes of a
stream, the cost of a rule is what it reads and writes, so the rules differ mainly in their memory:

==========  ===================================================  ==============================================
rule        state                                                step
==========  ===================================================  ==============================================
in_place    none                                                 ``W -= rate * gradient``, one product
unit        one number per unit                                  ... divided by the unit's root mean square
factored    one number per unit and one per input                ... and by the input's (Shazeer & Stern 2018)
momentum    one number per weight                                two products' worth of memory
adam        two numbers per weight, and the gradient             Kingma & Ba 2015, torch's fused kernel
==========  ===================================================  ==============================================

``docs/speed.md`` has the measurements.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam

from ffstream.config import OptimizerConfig
from ffstream.ff.gradients import LocalGradient
from ffstream.ff.rounding import Adder


class Rule(Protocol):
    """Applies local gradients to one matrix of a layer: its weights, or its coding's parameters.

    Attributes
    ----------
    weight
        Adder of the matrix.
    rate
        Step size; annealing sets it here.
    """

    weight: Adder
    rate: float

    def apply(self, gradient: LocalGradient) -> None:
        """Change the weights by one step."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint must hold, by name; writing into them restores the rule."""


class InPlace:
    """``W -= rate * gradient``: no state, and the gradient is never formed apart from the weights.

    Parameters
    ----------
    weight
        Adder of the matrix.
    rate
        Step size of one sample.
    """

    def __init__(self, weight: Adder, rate: float) -> None:
        self.weight = weight
        self.rate = rate

    def apply(self, gradient: LocalGradient) -> None:
        gradient.add_to(self.weight, -self.rate)

    def state(self) -> dict[str, Tensor]:
        return self.weight.state()


class Factored:
    """``in_place`` with the gradient divided by its running root mean squares, by unit and by input.

    The gradient's mean square is taken as the product of the two (Shazeer & Stern 2018, arXiv 1804.04235, section
    3), which here needs no pass over the gradient: it is the outer product of two factors that exist anyway.

    Parameters
    ----------
    weight
        Adder of the matrix.
    rate
        Step size.
    decay
        Decay of the mean squares per step.
    by_input
        True to divide by unit and by input, False to divide by unit only.
    """

    def __init__(self, weight: Adder, rate: float, decay: float, *, by_input: bool) -> None:
        self.weight = weight
        self.rate = rate
        self.decay = decay
        units, inputs = weight.weight.shape
        device = weight.weight.device
        self._units = torch.zeros(units, device=device)
        self._inputs = torch.zeros(inputs, device=device) if by_input else None
        self._steps = torch.zeros((), device=device)

    def apply(self, gradient: LocalGradient) -> None:
        self._steps += 1
        unbias = 1 - self.decay**self._steps
        units, inputs = gradient.mean_squares()
        by_unit = _inverse_root(self._units, units, self.decay, unbias)
        by_input = None if self._inputs is None else _inverse_root(self._inputs, inputs, self.decay, unbias)
        gradient.scaled(by_unit, by_input).add_to(self.weight, -self.rate)

    def state(self) -> dict[str, Tensor]:
        inputs = {} if self._inputs is None else {"inputs": self._inputs}
        return {"units": self._units, **inputs, "steps": self._steps, **self.weight.state()}


def _inverse_root(running: Tensor, seen: Tensor, decay: float, unbias: Tensor) -> Tensor:
    """Move a running mean square toward the current one, and return the inverse of its root."""
    running.lerp_(seen, 1 - decay)
    mean = running / unbias
    # A share of the mean keeps units and inputs that are nearly always silent from being blown up.
    return (mean + 0.1 * mean.mean() + 1e-20).rsqrt()


class Momentum:
    """``M = decay * M + (1 - decay) * gradient; W -= rate * M``, M kept in the precision of the exact weights."""

    def __init__(self, weight: Adder, rate: float, decay: float) -> None:
        self.weight = weight
        self.rate = rate
        self.decay = decay
        self._mean = torch.zeros_like(weight.exact)

    def apply(self, gradient: LocalGradient) -> None:
        # One call adds the product to the decayed momentum, so the gradient is never formed.
        gradient.accumulate(self._mean, self.decay, 1 - self.decay)
        self.weight.exact.sub_(self._mean, alpha=self.rate)
        self.weight.settle()

    def state(self) -> dict[str, Tensor]:
        return {"mean": self._mean, **self.weight.state()}


class Adam:
    """Adam (Kingma & Ba 2015) through torch's fused kernel, with one state for wake and sleep.

    Parameters
    ----------
    weight
        Adder of the matrix.
    rate
        Step size.
    betas
        Decay of the first and of the second moment.
    """

    def __init__(self, weight: Adder, rate: float, betas: tuple[float, float]) -> None:
        self.weight = weight
        self.rate = rate
        self.betas = betas
        # Each step writes its gradient into the same memory, because a new tensor would page-fault every time.
        self._gradient, self._mean, self._square = (torch.zeros_like(weight.exact) for _ in range(3))
        self._steps = torch.zeros((), device=weight.exact.device)

    def apply(self, gradient: LocalGradient) -> None:
        gradient.accumulate(self._gradient, 0.0, 1.0)
        adam(
            [self.weight.exact],
            [self._gradient],
            [self._mean],
            [self._square],
            [],
            [self._steps],
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=self.rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
        self.weight.settle()

    def state(self) -> dict[str, Tensor]:
        return {"mean": self._mean, "square": self._square, "steps": self._steps, **self.weight.state()}


def make_rule(config: OptimizerConfig, weight: Adder, rate: float) -> Rule:
    """Make the rule that a configuration names, for one matrix."""
    match config.rule:
        case "adam":
            return Adam(weight, rate, config.betas)
        case "momentum":
            return Momentum(weight, rate, config.betas[0])
        case "in_place":
            return InPlace(weight, rate)
        case _:
            return Factored(weight, rate, config.betas[1], by_input=config.rule == "factored")
