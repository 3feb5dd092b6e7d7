"""Rules that apply a layer's local gradient to its weights, in place.

Each layer has a rule of its own, because each layer learns as soon as its own output is known. At the batches of a
stream a rule costs what it reads and writes, so the rules differ first in their memory:

==========  ===================================================  ==============================================
rule        state                                                step
==========  ===================================================  ==============================================
in_place    none                                                 ``W -= rate * gradient``, one product
unit        one number a unit                                    ... divided by the unit's root mean square
factored    one number a unit and one an input                   ... and by the input's (Shazeer & Stern 2018)
momentum    one number a weight                                  two products' worth of memory
adam        two numbers a weight, and the gradient               Kingma & Ba 2015, torch's fused kernel
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

LABEL_WEIGHTS = "labels"


class Rule(Protocol):
    """Applies local gradients to one layer's parameters.

    Attributes
    ----------
    rate
        Step size; whoever lowers it towards the end of a training sets it here.
    """

    rate: float

    def apply(self, gradient: LocalGradient) -> None:
        """Change the parameters by one step."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint must hold, by name; writing into them restores the rule."""


class InPlace:
    """``W -= rate * gradient``: no state, and the gradient is never formed apart from the weights.

    Parameters
    ----------
    weight
        How products are added to the layer's weights.
    label_weights
        What the layer's label coding learns, where it learns anything.
    rate
        How far one sample moves the weights.
    """

    def __init__(self, weight: Adder, label_weights: Tensor | None, rate: float) -> None:
        self.weight = weight
        self.label_weights = label_weights
        self.rate = rate

    def apply(self, gradient: LocalGradient) -> None:
        gradient.add_to(self.weight, -self.rate)
        if self.label_weights is not None and gradient.label_weights is not None:
            self.label_weights.sub_(gradient.label_weights, alpha=self.rate)

    def state(self) -> dict[str, Tensor]:
        return self.weight.state()


class Factored:
    """``in_place``, each unit's and each input's share of the gradient divided by its running root mean square.

    The gradient's mean square is taken as the product of the two (Shazeer & Stern 2018, arXiv 1804.04235, section
    3), which here costs no pass over the gradient: it is the outer product of the two factors that arise anyway.

    Parameters
    ----------
    within
        The rule that applies what is left.
    units, inputs
        Mean squares (u,) and (i,); ``None`` leaves that side as it is.
    decay
        Of the mean squares, a step.
    """

    def __init__(self, within: InPlace, units: Tensor, inputs: Tensor | None, decay: float) -> None:
        self.within = within
        self.units = units
        self.inputs = inputs
        self.decay = decay
        self._steps = torch.zeros((), device=units.device)

    def apply(self, gradient: LocalGradient) -> None:
        self._steps += 1
        unbias = 1 - self.decay**self._steps
        units, inputs = gradient.mean_squares()
        by_unit = _inverse_root(self.units, units, self.decay, unbias)
        by_input = None if self.inputs is None else _inverse_root(self.inputs, inputs, self.decay, unbias)
        self.within.apply(gradient.scaled(by_unit, by_input))

    @property
    def rate(self) -> float:
        """Step size, which is that of the rule within."""
        return self.within.rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self.within.rate = rate

    def state(self) -> dict[str, Tensor]:
        inputs = {} if self.inputs is None else {"inputs": self.inputs}
        return {"units": self.units, **inputs, "steps": self._steps, **self.within.state()}


def _inverse_root(running: Tensor, seen: Tensor, decay: float, unbias: Tensor) -> Tensor:
    """Move a running mean square towards what was seen, and return the inverse of its root."""
    running.lerp_(seen, 1 - decay)
    mean = running / unbias
    # A share of the mean keeps what is nearly always silent from being blown up.
    return (mean + 0.1 * mean.mean() + 1e-20).rsqrt()


class Momentum:
    """``M = decay * M + (1 - decay) * gradient; W -= rate * M``, M kept in the precision of the exact weights."""

    def __init__(self, weight: Adder, label_weights: Tensor | None, rate: float, decay: float) -> None:
        self.weight = weight
        self.parameters = _named(weight.exact, label_weights)
        self.rate = rate
        self.decay = decay
        self._mean = {name: torch.zeros_like(p) for name, p in self.parameters.items()}

    def apply(self, gradient: LocalGradient) -> None:
        # The product is added to the decayed momentum by one call: the gradient is never formed.
        share = 1 - self.decay
        gradient.accumulate(self._mean["weight"], self.decay, share)
        if gradient.label_weights is not None:
            self._mean[LABEL_WEIGHTS].mul_(self.decay).add_(gradient.label_weights, alpha=share)
        for name, parameter in self.parameters.items():
            parameter.sub_(self._mean[name], alpha=self.rate)
        self.weight.settle()

    def state(self) -> dict[str, Tensor]:
        return {**{f"mean.{name}": tensor for name, tensor in self._mean.items()}, **self.weight.state()}


class Adam:
    """Adam (Kingma & Ba 2015) through torch's fused kernel, with one state for wake and sleep.

    Parameters
    ----------
    weight
        Holds the layer's weights.
    label_weights
        What the layer's label coding learns, where it learns anything.
    rate
        Step size.
    betas
        Decay of the first and of the second moment.
    """

    def __init__(self, weight: Adder, label_weights: Tensor | None, rate: float, betas: tuple[float, float]) -> None:
        self.weight = weight
        self.parameters = parameters = _named(weight.exact, label_weights)
        self.rate = rate
        self.betas = betas
        # Gradients are written into the same memory at each step: a fresh one would page-fault every time.
        self._gradients = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._mean = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._square = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._steps = {name: torch.zeros((), device=p.device) for name, p in parameters.items()}

    def apply(self, gradient: LocalGradient) -> None:
        gradient.accumulate(self._gradients["weight"], 0.0, 1.0)
        if gradient.label_weights is not None:
            self._gradients[LABEL_WEIGHTS].copy_(gradient.label_weights)
        adam(
            list(self.parameters.values()),
            list(self._gradients.values()),
            list(self._mean.values()),
            list(self._square.values()),
            [],
            list(self._steps.values()),
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
        kinds = {"mean": self._mean, "square": self._square, "steps": self._steps}
        moments = {f"{kind}.{name}": tensor for kind, tensors in kinds.items() for name, tensor in tensors.items()}
        return {**moments, **self.weight.state()}


def _named(weight: Tensor, label_weights: Tensor | None) -> dict[str, Tensor]:
    return {"weight": weight} | ({} if label_weights is None else {LABEL_WEIGHTS: label_weights})


def make_rule(config: OptimizerConfig, adder: Adder, label_weights: Tensor | None) -> Rule:
    """Make the rule that a configuration names, for one layer's weights and what its label coding learns."""
    weight = adder.weight
    if config.rule == "adam":
        return Adam(adder, label_weights, config.rate, config.betas)
    if config.rule == "momentum":
        return Momentum(adder, label_weights, config.rate, config.betas[0])
    in_place = InPlace(adder, label_weights, config.rate)
    if config.rule == "in_place":
        return in_place
    units, inputs = (
        torch.zeros(weight.shape[0], device=weight.device),
        torch.zeros(weight.shape[1], device=weight.device),
    )
    return Factored(in_place, units, inputs if config.rule == "factored" else None, config.betas[1])
