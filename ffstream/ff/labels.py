"""Label codings: how a label meets the activities of a layer.

=========  ==================================================================  ===========================
coding     goodness of label c in a layer                                      cost of scoring C labels
=========  ==================================================================  ===========================
assembly   mean square over the units that c owns; nothing enters the input    one product, rows x units x C
context    mean square of ``relu(W x + U[c])``; the label is a top-down term   rows x C x units elementwise
overlay    mean square of the layer, the label written over the first pixels   C passes (the paper, section 3.3)
=========  ==================================================================  ===========================

A coding belongs to one layer. It reads that layer's activations into goodness, and turns the slope of the
layer's loss with respect to goodness back into the slope with respect to the activations. Nothing else in the
package knows which coding is in use. ``read`` and ``delta`` are pure, so that a compiler can fuse them with what
surrounds them (``ffstream.ff.layers``).

Shapes: rows n, labels C, units of the layer u, targets of a row t (1, or 2 where both signs are learned at once).
The paths dimension p is 1 where the forward pass is label-free, and C under ``overlay``, where each label
hypothesis is a path of its own.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

# What adding one block costs on a CPU beside its multiplications, in as many multiplications, by bytes a weight.
BLOCK_COST = {2: 60_000_000, 4: 7_000_000, 8: 7_000_000}
# Rows below which a product takes no less time, because it waits for the weights.
MEMORY_BOUND = 16


class Block(NamedTuple):
    """Some rows (k,) int64, and a run of units that they teach."""

    rows: Tensor
    units: slice


class Coding(Protocol):
    """One layer's label coding."""

    def read(self, activation: Tensor) -> tuple[Tensor, Tensor]:
        """Read activations (n, p, u): goodness of every label (n, C), and the activities that go on (n, p, u)."""

    def delta(self, activation: Tensor, targets: Tensor, slope: Tensor) -> tuple[Tensor, Tensor | None]:
        """Turn the slope of the loss at the goodness of a row's targets, both (n, t), into what the weights need.

        Returns the slope with respect to the activations, (n, 1, u) where the paths are label-free and (n, t, u)
        where each target has a path of its own; and the gradient (C, u) of the top-down weights where there are any.
        """

    def blocks(self, targets: Tensor, inputs: Tensor) -> list[Block] | None:
        """Say which rows teach which units, where adding block by block is faster than one product, or ``None``.

        Parameters
        ----------
        targets
            (m, t): the labels whose goodness the rows move.
        inputs
            (k, i): what the layer's weights met.
        """

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
    run
        Where the assemblies are disjoint and each is a run of this many units, one after another, their goodness is
        a mean over runs, which fuses with the rest of the layer; 0 where they overlap, and a product is needed.
    """

    def __init__(self, membership: Tensor, temperature: float, run: int = 0) -> None:
        self.membership = membership
        self.temperature = temperature
        self.run = run

    def read(self, activation: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(activation)
        square = hidden.square()[:, 0]
        if self.run:
            labels = len(self.membership)
            share = square[:, : labels * self.run].view(-1, labels, self.run).mean(2)
        else:
            share = square @ self.membership.T
        return self.temperature * share, hidden

    def delta(self, activation: Tensor, targets: Tensor, slope: Tensor) -> tuple[Tensor, Tensor | None]:
        # relu'(a) is 1 wherever h is not 0, so h carries the derivative of the activation with it.
        shares = (self.membership[targets] * slope.unsqueeze(2)).sum(1, keepdim=True)
        return torch.relu(activation) * shares * (2 * self.temperature), None

    def blocks(self, targets: Tensor, inputs: Tensor) -> list[Block] | None:
        # A row teaches only the assemblies of its targets, so most of a dense product would be multiplied by zeros.
        # Sorting rows by target needs their labels on the host, which on a GPU would wait for the layer.
        if not self.run or targets.is_cuda:
            return None
        dense = max(len(targets), MEMORY_BOUND) * inputs.shape[1] * self.membership.shape[1]
        cost = BLOCK_COST[inputs.itemsize]
        if dense < cost:
            return None
        counts = targets.flatten().bincount(minlength=len(self.membership)).tolist()
        if dense < cost * sum(count > 0 for count in counts):
            return None
        rows = torch.split(targets.flatten().argsort() // targets.shape[1], counts)
        return [Block(rows[c], slice(c * self.run, (c + 1) * self.run)) for c, count in enumerate(counts) if count]

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

    def read(self, activation: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(activation + self.top_down)
        return self.temperature * hidden.square().mean(2), torch.relu(activation)

    def delta(self, activation: Tensor, targets: Tensor, slope: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden = torch.relu(activation + self.top_down[targets])
        delta = hidden * (slope * (2 * self.temperature / hidden.shape[2])).unsqueeze(2)
        shown = functional.one_hot(targets, len(self.top_down)).to(delta.dtype)
        return delta.sum(1, keepdim=True), shown.flatten(0, 1).T @ delta.flatten(0, 1)

    def blocks(self, targets: Tensor, inputs: Tensor) -> list[Block] | None:
        return None

    def parameters(self) -> dict[str, Tensor]:
        return {"context": self.top_down}

    def buffers(self) -> dict[str, Tensor]:
        return {}


class Overlay:
    """The label is in the input; each label hypothesis travels through the network on a path of its own."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def read(self, activation: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.relu(activation)
        return self.temperature * hidden.square().mean(2), hidden

    def delta(self, activation: Tensor, targets: Tensor, slope: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden = torch.relu(path_of(activation, targets))
        return hidden * (slope * (2 * self.temperature / hidden.shape[2])).unsqueeze(2), None

    def blocks(self, targets: Tensor, inputs: Tensor) -> list[Block] | None:
        return None

    def parameters(self) -> dict[str, Tensor]:
        return {}

    def buffers(self) -> dict[str, Tensor]:
        return {}


def path_of(rows: Tensor, targets: Tensor) -> Tensor:
    """Pick the paths of a row's targets (n, t) out of (n, C, width); where there is one path, it is everyone's."""
    if rows.shape[1] == 1:
        return rows
    return rows.gather(1, targets.unsqueeze(2).expand(-1, -1, rows.shape[2]))


def write_labels(rows: Tensor, labels: int) -> Tensor:
    """Write every label over the first pixels; (n, 1, i) -> (n, C, i) (the paper, section 3.3).

    The pixel of the label takes the row's largest value and the other label pixels 0, as in the paper's images.
    """
    paths = rows.repeat(1, labels, 1)
    paths[:, :, :labels] = torch.eye(labels, dtype=rows.dtype, device=rows.device) * rows.amax(-1, keepdim=True)
    return paths


def disjoint_assemblies(labels: int, units: int) -> Tensor:
    """Give each label a run of ``units // labels`` units; the units left over are nobody's. G (C, u), rows sum to 1."""
    run = units // labels
    owned = torch.eye(labels).repeat_interleave(run, 1) / run
    return functional.pad(owned, (0, units - labels * run))


def random_assemblies(labels: int, units: int, share: float, generator: torch.Generator) -> Tensor:
    """Give each label ``share`` of the units, drawn without replacement; labels overlap. G (C, u), rows sum to 1."""
    size = max(1, round(share * units))
    order = torch.rand(labels, units, generator=generator).argsort(1)
    return torch.zeros(labels, units).scatter_(1, order[:, :size], 1.0 / size)
