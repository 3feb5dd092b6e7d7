"""Rules that apply a layer's local gradient to its weights, in place.

Each layer has a rule of its own, because each layer learns as soon as its own output is known.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam

from ffstream.ff.labels import LocalGradient


class Rule(Protocol):
    """Applies local gradients to one layer's parameters."""

    def apply(self, gradient: LocalGradient) -> None:
        """Change the parameters by one step."""

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint must hold, by name; writing into them restores the rule."""


class Adam:
    """Adam (Kingma & Ba 2015) through torch's fused kernel, with one state for wake and sleep.

    Parameters
    ----------
    parameters
        The layer's learned tensors by name: ``weight``, and ``context`` under that coding.
    rate
        Step size.
    betas
        Decay of the first and of the second moment.
    """

    def __init__(self, parameters: dict[str, Tensor], rate: float, betas: tuple[float, float]) -> None:
        self.parameters = parameters
        self.rate = rate
        self.betas = betas
        # Gradients are written into the same memory at each step: a fresh one would page-fault every time.
        self._gradients = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._mean = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._square = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self._steps = {name: torch.zeros((), device=p.device) for name, p in parameters.items()}

    def apply(self, gradient: LocalGradient) -> None:
        torch.mm(gradient.delta.T, gradient.inputs, out=self._gradients["weight"])
        if gradient.context is not None:
            self._gradients["context"].copy_(gradient.context)
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

    def state(self) -> dict[str, Tensor]:
        kinds = {"mean": self._mean, "square": self._square, "steps": self._steps}
        return {f"{kind}.{name}": tensor for kind, tensors in kinds.items() for name, tensor in tensors.items()}


class InPlace:
    """``W -= rate * gradient``: no state, and the gradient is never formed apart from the weights."""

    def __init__(self, parameters: dict[str, Tensor], rate: float) -> None:
        self.parameters = parameters
        self.rate = rate

    def apply(self, gradient: LocalGradient) -> None:
        self.parameters["weight"].addmm_(gradient.delta.T, gradient.inputs, alpha=-self.rate)
        if gradient.context is not None:
            self.parameters["context"].sub_(gradient.context, alpha=self.rate)

    def state(self) -> dict[str, Tensor]:
        return {}
