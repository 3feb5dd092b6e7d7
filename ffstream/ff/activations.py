"""Activation functions and their derivatives, both as functions of the weighted sum of a unit's inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.config.network import Activation as Name

LEAK = 0.01
NEVER_NEGATIVE: tuple[Name, ...] = ("relu", "softplus", "squared_relu")


class Activation(NamedTuple):
    """An elementwise function and its derivative; both keep the shape.

    Attributes
    ----------
    value, slope
        The function and its derivative.
    degree
        Highest power of the value with which the function grows.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    degree: float = 1


def _relu_slope(a: Tensor) -> Tensor:
    return (a > 0).to(a.dtype)


def _leaky_relu(a: Tensor) -> Tensor:
    return functional.leaky_relu(a, LEAK)


def _leaky_relu_slope(a: Tensor) -> Tensor:
    return torch.where(a > 0, 1.0, LEAK).to(a.dtype)


def _gelu_slope(a: Tensor) -> Tensor:
    """Return ``Phi(a) + a phi(a)``, with the normal CDF and its density (Hendrycks & Gimpel, arXiv 1606.08415)."""
    density = torch.exp(-0.5 * a.square()) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + torch.erf(a / math.sqrt(2))) + a * density


def _tanh_slope(a: Tensor) -> Tensor:
    return 1 - torch.tanh(a).square()


def _squared_relu(a: Tensor) -> Tensor:
    return torch.relu(a).square()


def _squared_relu_slope(a: Tensor) -> Tensor:
    return 2 * torch.relu(a)


ACTIVATIONS: Mapping[Name, Activation] = {
    "relu": Activation(torch.relu, _relu_slope),
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_slope),
    "gelu": Activation(functional.gelu, _gelu_slope),
    "tanh": Activation(torch.tanh, _tanh_slope),
    "softplus": Activation(functional.softplus, torch.sigmoid),
    "squared_relu": Activation(_squared_relu, _squared_relu_slope, degree=2),
}
