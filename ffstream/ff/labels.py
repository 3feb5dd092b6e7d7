"""Label codings: how a label meets the activities of a layer.

=========  ==================================================================  ===========================
coding     goodness of label c in a layer                                      cost of scoring C labels
=========  ==================================================================  ===========================
assembly   mean square over the units that c owns; nothing enters the input    one product, rows x units x C
context    mean square of ``relu(W x + U[c])``; the label is a top-down term   rows x C x units elementwise
overlay    mean square of the layer, the label written over the first pixels   C passes (the paper, section 3.3)
=========  ==================================================================  ===========================

A coding belongs to one layer. It reads that layer's activations into goodness, and turns the slope of the
layer's loss with respect to goodness back into the two factors of the weight gradient. Nothing else in the
package knows which coding is in use.

Shapes: rows n, learning rows m <= n, labels C, units of the layer u, its inputs i. The paths dimension p is 1
where the forward pass is label-free, and C under ``overlay``, where each label hypothesis is a path of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reading:
    """What a coding reads from one layer's activations.

    Attributes
    ----------
    goodness
        (n, C): goodness of every label hypothesis.
    hidden
        Activities that the goodness was taken of; (n, 1, u), or (n, C, u) where they depend on the label.
    onward
        (n, p, u): activities that go on to the next layer, not yet normalised.
    """

    goodness: Tensor
    hidden: Tensor
    onward: Tensor


@dataclass(frozen=True)
class LocalGradient:
    """Gradient of a layer's loss, in the form in which it arises.

    The gradient of the weights is ``delta.T @ inputs``. It is kept as its two factors, so that a rule without
    state can add it to the weights without ever forming it, and so that an all-reduce can go between computing
    and applying it.

    Attributes
    ----------
    delta
        (k, u): slope of the loss with respect to the activation of each unit.
    inputs
        (k, i): the normalised inputs that met those activations.
    context
        (C, u): gradient of the top-down weights, under ``context`` coding only.
    """

    delta: Tensor
    inputs: Tensor
    context: Tensor | None = None


class Coding(Protocol):
    """One layer's label coding."""

    def read(self, activation: Tensor) -> Reading:
        """Read the goodness of every label from activations (n, p, u)."""

    def gradient(self, hidden: Tensor, slope: Tensor, inputs: Tensor) -> LocalGradient:
        """Turn the slope of the loss with respect to goodness (m, C) into the gradient of the weights."""

    def parameters(self) -> dict[str, Tensor]:
        """Return the learned tensors beside the weights, by name."""

    def buffers(self) -> dict[str, Tensor]:
        """Return the fixed tensors that a checkpoint must hold, by name."""


class Assembly:
    """Each label owns a fixed assembly of units: ``g = temperature * (h * h) @ G.T``.

    Parameters
    ----------
    membership
        G, (C, u), rows summing to 1: label c's share in the mean over units.
    temperature
        Scale of goodness.
    """

    def __init__(self, membership: Tensor, temperature: float) -> None:
        self.membership = membership
        self.temperature = temperature

    def read(self, activation: Tensor) -> Reading:
        hidden = torch.relu(activation)
        goodness = self.temperature * (hidden * hidden)[:, 0] @ self.membership.T
        return Reading(goodness, hidden, hidden)

    def gradient(self, hidden: Tensor, slope: Tensor, inputs: Tensor) -> LocalGradient:
        # relu'(a) is 1 wherever h is not 0, so h carries the derivative of the activation with it.
        delta = hidden[:, 0] * (slope @ self.membership).mul_(2 * self.temperature)
        return LocalGradient(delta, inputs[:, 0])

    def parameters(self) -> dict[str, Tensor]:
        return {}

    def buffers(self) -> dict[str, Tensor]:
        return {"membership": self.membership}


class Context:
    """The label enters each layer from above: ``g = temperature * mean_j relu(W x + U[c])_j ** 2``.

    The trunk ``relu(W x)`` that goes on to the next layer is label-free, so one pass scores every label.

    Parameters
    ----------
    top_down
        U, (C, u), learned with the weights.
    temperature
        Scale of goodness.
    """

    def __init__(self, top_down: Tensor, temperature: float) -> None:
        self.top_down = top_down
        self.temperature = temperature

    def read(self, activation: Tensor) -> Reading:
        hidden = torch.relu(activation + self.top_down)
        return Reading(self.temperature * hidden.square().mean(-1), hidden, torch.relu(activation))

    def gradient(self, hidden: Tensor, slope: Tensor, inputs: Tensor) -> LocalGradient:
        delta = hidden * (slope * (2 * self.temperature / hidden.shape[-1])).unsqueeze(-1)
        return LocalGradient(delta.sum(1), inputs[:, 0], context=delta.sum(0))

    def parameters(self) -> dict[str, Tensor]:
        return {"context": self.top_down}

    def buffers(self) -> dict[str, Tensor]:
        return {}


class Overlay:
    """The label is in the input; each label hypothesis travels through the network on a path of its own."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def read(self, activation: Tensor) -> Reading:
        hidden = torch.relu(activation)
        return Reading(self.temperature * hidden.square().mean(-1), hidden, hidden)

    def gradient(self, hidden: Tensor, slope: Tensor, inputs: Tensor) -> LocalGradient:
        delta = hidden * (slope * (2 * self.temperature / hidden.shape[-1])).unsqueeze(-1)
        return LocalGradient(delta.flatten(0, 1), inputs.flatten(0, 1))

    def parameters(self) -> dict[str, Tensor]:
        return {}

    def buffers(self) -> dict[str, Tensor]:
        return {}


def write_labels(rows: Tensor, labels: int) -> Tensor:
    """Write every label over the first pixels; (n, 1, i) -> (n, C, i) (the paper, section 3.3).

    The pixel of the label takes the row's largest value and the other label pixels 0, as in the paper's images.
    """
    paths = rows.repeat(1, labels, 1)
    paths[:, :, :labels] = torch.eye(labels, dtype=rows.dtype, device=rows.device) * rows.amax(-1, keepdim=True)
    return paths


def disjoint_assemblies(labels: int, units: int) -> Tensor:
    """Cut the units into one run a label, as equal as can be; G (C, u) with rows summing to 1."""
    owner = torch.arange(units) * labels // units
    owned = torch.nn.functional.one_hot(owner, labels).T.float().contiguous()
    return owned / owned.sum(1, keepdim=True)


def random_assemblies(labels: int, units: int, share: float, generator: torch.Generator) -> Tensor:
    """Give each label ``share`` of the units, drawn without replacement; labels overlap. G (C, u), rows sum to 1."""
    size = max(1, round(share * units))
    order = torch.rand(labels, units, generator=generator).argsort(1)
    return torch.zeros(labels, units).scatter_(1, order[:, :size], 1.0 / size)
