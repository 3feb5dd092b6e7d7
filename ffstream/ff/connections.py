"""Connections from inputs to units: dense, a receptive field at each place, or one kernel for all places.

Rows between layers are flat and carry paths, (n, p, i), place by place (``ffstream.ff.grid``). The weights of every
connection are one matrix (u, i), a row for each set of weights, so rules and homeostasis need not know its kind.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.ff.gradients import Blocks, Factors, Formed, LocalGradient
from ffstream.ff.products import PLAIN, Plan, multiply


class Connection(Protocol):
    """Weights of one layer, and their product with its inputs."""

    weight: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Turn inputs (n, p, i) into activations (n, p, places * units)."""

    def energy(self, x: Tensor) -> Tensor | None:
        """Return the largest mean square of any unit's view of inputs (n, p, i), (n,); ``None`` if it is always 1."""

    def gradient(self, delta: Tensor, x: Tensor, blocks: Blocks | None) -> LocalGradient:
        """Return the gradient for slopes (m, q, places * units) at the activations of inputs (m, q, i)."""


class Dense:
    """Every unit sees all of the layer below.

    Parameters
    ----------
    weight
        (u, i), in the memory layout that the plan needs.
    plan
        Ways to multiply it, by number of rows.
    """

    def __init__(self, weight: Tensor, plan: Plan = PLAIN) -> None:
        self.weight = weight
        self.plan = plan
        # Stored for the compiler, which would otherwise guard each way.
        self.plain = plan.plain

    def forward(self, x: Tensor) -> Tensor:
        return multiply(x, self.weight, self.plan)

    def energy(self, x: Tensor) -> None:
        # Rows are normalized, and a unit sees all of a row.
        del x

    def gradient(self, delta: Tensor, x: Tensor, blocks: Blocks | None) -> LocalGradient:
        return Factors(delta.flatten(0, 1), x.flatten(0, 1), blocks)


class Field:
    """Square windows over the places of the layer below.

    Parameters
    ----------
    below
        Channels, height and width of the layer below.
    kernel, stride, padding
        Size, stride and padding of the windows, in places.
    """

    def __init__(self, below: tuple[int, int, int], kernel: int, stride: int, padding: int) -> None:
        self.channels, self.height, self.width = below
        self.kernel, self.stride, self.padding = kernel, stride, padding

    @property
    def inputs(self) -> int:
        """Number of values in one window."""
        return self.channels * self.kernel**2

    @property
    def places(self) -> tuple[int, int]:
        """Height and width of the output, in places."""
        rows, columns = (
            (side + 2 * self.padding - self.kernel) // self.stride + 1 for side in (self.height, self.width)
        )
        return rows, columns

    def images(self, x: Tensor) -> Tensor:
        """Reshape flat rows (n, p, i) into images (n * p, channels, height, width)."""
        return x.reshape(-1, self.height, self.width, self.channels).permute(0, 3, 1, 2)

    def energy(self, x: Tensor) -> Tensor:
        """Return the largest mean square of a window of inputs (n, p, i); (n,)."""
        squares = functional.pad(self.images(x.float()).square().mean(1, keepdim=True), (self.padding,) * 4)
        return functional.avg_pool2d(squares, self.kernel, self.stride).view(len(x), -1).amax(1)


class Local:
    """Each place has its own weights for its receptive field (the paper, section 3.2).

    Parameters
    ----------
    weight
        (places * units, i), place by place.
    field
        The receptive fields.
    """

    def __init__(self, weight: Tensor, field: Field) -> None:
        self.weight = weight
        self.field = field

    def forward(self, x: Tensor) -> Tensor:
        windows, weights = self._windows(x), self._by_place(self.weight)
        return torch.bmm(windows, weights.transpose(1, 2)).transpose(0, 1).reshape(*x.shape[:2], len(self.weight))

    def energy(self, x: Tensor) -> Tensor:
        return self.field.energy(x)

    def gradient(self, delta: Tensor, x: Tensor, blocks: Blocks | None) -> LocalGradient:
        windows = self._windows(x)
        units = delta.shape[2] // len(windows)
        slopes = delta.reshape(windows.shape[1], len(windows), units).permute(1, 2, 0)
        return Formed(torch.bmm(slopes, windows).flatten(0, 1))

    def _windows(self, x: Tensor) -> Tensor:
        """Extract the windows of all places from inputs (n, p, i); (places, n * p, window)."""
        field = self.field
        images = functional.pad(field.images(x), (field.padding,) * 4)
        windows = images.unfold(2, field.kernel, field.stride).unfold(3, field.kernel, field.stride)
        return windows.permute(2, 3, 0, 1, 4, 5).reshape(math.prod(field.places), len(images), field.inputs)

    def _by_place(self, weight: Tensor) -> Tensor:
        rows, columns = self.field.places
        return weight.view(rows * columns, -1, self.field.inputs)


class Convolution:
    """All places share one kernel per channel.

    Parameters
    ----------
    weight
        (channels, i).
    field
        The windows that the kernels cover.
    """

    def __init__(self, weight: Tensor, field: Field) -> None:
        self.weight = weight
        self.field = field

    def forward(self, x: Tensor) -> Tensor:
        field = self.field
        made = functional.conv2d(
            field.images(x), self._kernels(self.weight), stride=field.stride, padding=field.padding
        )
        return made.permute(0, 2, 3, 1).reshape(*x.shape[:2], math.prod(made.shape[1:]))

    def energy(self, x: Tensor) -> Tensor:
        return self.field.energy(x)

    def gradient(self, delta: Tensor, x: Tensor, blocks: Blocks | None) -> LocalGradient:
        field, (rows, columns) = self.field, self.field.places
        slopes = delta.reshape(-1, rows, columns, len(self.weight)).permute(0, 3, 1, 2)
        _, gradient, _ = torch.ops.aten.convolution_backward(
            slopes,
            field.images(x),
            self._kernels(self.weight),
            None,
            [field.stride] * 2,
            [field.padding] * 2,
            [1, 1],
            False,
            [0, 0],
            1,
            [False, True, False],
        )
        return Formed(gradient.reshape_as(self.weight))

    def _kernels(self, weight: Tensor) -> Tensor:
        field = self.field
        return weight.view(-1, field.channels, field.kernel, field.kernel)
