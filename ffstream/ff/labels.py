"""Label codings: ways to combine labels with the activities of a layer.

=========  ==================================================================  ===========================
coding     goodness of label c in a layer                                      cost of scoring C labels
=========  ==================================================================  ===========================
assembly   over the units that c owns; nothing enters the input                one product, rows x units x C
context    over ``h = activation(W x + U[c])``; the label is a top-down term   rows x C x units elementwise
overlay    over the layer, the label written over the first pixels             C passes (the paper, section 3.3)
none       over the layer; there is one goodness, of the input itself          one pass (the paper, section 3.2)
=========  ==================================================================  ===========================

A coding belongs to one layer. It selects what is judged for each label, and carries the slope of the layer's loss back
to the activations. The layer itself does not know which coding is in use. All methods but ``blocks`` are pure, so that
a compiler can fuse them with the code around them (``ffstream.ff.judging``).

Shapes: rows n, labels C, regions r, places of a region l, units of a place u, moved labels of a row t (1, or 2 where
both signs are learned at once, or all). The paths dimension p is 1 where the forward pass is label-free, and C under
``overlay``, where each label hypothesis is its own path.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.ff.goodness import Goodness, Mean, Pool
from ffstream.ff.gradients import Blocks

# Overhead of adding one block on a CPU, in multiplications of one thread, by bytes per weight. The other threads wait
# meanwhile.
BLOCK_COST = {2: 30_000_000, 4: 3_500_000, 8: 3_500_000}
# Number of rows below which a product gets no faster, because it is bound by reading the weights.
MEMORY_BOUND = 16


class Coding(Protocol):
    """Label coding of one layer."""

    def pool(self) -> Pool:
        """Return the assignment of units to labels."""

    def hypotheses(self, activation: Tensor) -> Tensor:
        """Return what is judged, from activations (n, p, r, l, u): in the same shape, or (n, C, r, l, u)."""

    def at(self, activation: Tensor, moved: Tensor | None) -> Tensor:
        """Return the activations that labels ``moved`` (n, t) are judged by; (n, 1, r, l, u) or (n, t, r, l, u)."""

    def lay(self, parts: Tensor) -> Tensor:
        """Arrange values of units (n, q, r, l, u) as ``at`` arranges activations."""

    def part(self, laid: Tensor) -> Tensor:
        """Undo ``lay``."""

    def collect(
        self, delta: Tensor, hidden: Tensor, moved: Tensor | None, slope: Tensor, goodness: Goodness
    ) -> tuple[Tensor, Tensor | None]:
        """Carry slopes at what ``at`` returned back to the activations.

        Parameters
        ----------
        delta, hidden
            Slopes, and the activities there, in the shape that ``at`` returned.
        moved, slope
            (n, t) and (n, r, t): moved labels, and slopes at their goodness.

        Returns
        -------
        tuple
            Slopes (n, 1, r, l, u) where paths are label-free, else (n, t, r, l, u); and the gradient (C, u) of the
            coding's own parameters, if it has any.
        """

    def blocks(self, targets: Tensor, inputs: Tensor) -> Blocks | None:
        """Return which rows teach which units, if adding block by block is faster than one product, else ``None``.

        Parameters
        ----------
        targets
            (m, t): labels whose goodness the rows move.
        inputs
            (m, 1, i): inputs of the layer.
        """

    def parameters(self) -> dict[str, Tensor]:
        """Return the learned tensors other than the weights, by name."""

    def buffers(self) -> dict[str, Tensor]:
        """Return the fixed tensors that a checkpoint must hold, by name."""


class _Plain:
    """Base of the codings; by default activations are judged as they are, and the coding itself learns nothing."""

    def hypotheses(self, activation: Tensor) -> Tensor:
        return activation

    def at(self, activation: Tensor, moved: Tensor | None) -> Tensor:
        return activation if activation.shape[1] == 1 else path_of(activation, moved)

    def lay(self, parts: Tensor) -> Tensor:
        return parts

    def part(self, laid: Tensor) -> Tensor:
        return laid

    def collect(
        self, delta: Tensor, hidden: Tensor, moved: Tensor | None, slope: Tensor, goodness: Goodness
    ) -> tuple[Tensor, Tensor | None]:
        return delta, None

    def blocks(self, targets: Tensor, inputs: Tensor) -> Blocks | None:
        return None

    def parameters(self) -> dict[str, Tensor]:
        return {}

    def buffers(self) -> dict[str, Tensor]:
        return {}


class Assembly(_Plain):
    """Each label owns a fixed assembly of units.

    Parameters
    ----------
    membership
        G, (C, u), rows summing to 1: share of each unit in a label's mean.
    size
        Number of units in an assembly.
    run
        The same, if each assembly is a run of consecutive units; 0 if they overlap or are scattered.
    """

    def __init__(self, membership: Tensor, size: int, run: int = 0) -> None:
        self.membership = membership
        self._pool = Pool(membership, size, run)

    def pool(self) -> Pool:
        return self._pool

    def blocks(self, targets: Tensor, inputs: Tensor) -> Blocks | None:
        # A row teaches only the assemblies of its targets, so a dense product would mostly multiply by zeros. Sorting
        # rows by target needs their labels on the host, which on a GPU would wait for the layer.
        run = self._pool.run
        if not run or targets.is_cuda:
            return None
        if targets.numel() == 1:
            label = int(targets)
            return Blocks([int(c == label) for c in range(len(self.membership))])
        dense = max(len(targets), MEMORY_BOUND) * inputs.shape[-1] * self.membership.shape[1]
        # The largest possible number of blocks: counting them takes as long as a block saves in a small layer.
        cost = BLOCK_COST[inputs.itemsize] * torch.get_num_threads()
        if dense < cost * min(len(self.membership), targets.numel()):
            return None
        runs, order = targets.flatten().sort()
        counts = runs.bincount(minlength=len(self.membership)).tolist()
        return Blocks(counts, order // targets.shape[1], runs)

    def buffers(self) -> dict[str, Tensor]:
        return {"membership": self.membership}


class LearnedAssembly(_Plain):
    """Each label learns a weight for every unit, separately in each region of an image.

    Goodness is temperature times a weighted mean. Weights may be negative: a unit can count against a label.

    Parameters
    ----------
    weights
        (C, regions * u), learned with the layer's weights; all ones give a plain mean.
    regions
        Number of regions.
    """

    def __init__(self, weights: Tensor, regions: int) -> None:
        self.weights = weights
        self._regions = regions

    def pool(self) -> Pool:
        return Pool(self.weights / self.weights.shape[1], self.weights.shape[1])

    def hypotheses(self, activation: Tensor) -> Tensor:
        return self.lay(activation)

    def at(self, activation: Tensor, moved: Tensor | None) -> Tensor:
        del moved
        return self.lay(activation)

    def lay(self, parts: Tensor) -> Tensor:
        # The units of all regions are judged as one region.
        return parts.transpose(2, 3).flatten(3).unsqueeze(2)

    def part(self, laid: Tensor) -> Tensor:
        n, paths, _, places, units = laid.shape
        return laid[:, :, 0].view(n, paths, places, self._regions, units // self._regions).transpose(2, 3)

    def collect(
        self, delta: Tensor, hidden: Tensor, moved: Tensor | None, slope: Tensor, goodness: Goodness
    ) -> tuple[Tensor, Tensor | None]:
        if not isinstance(goodness, Mean):
            raise TypeError("learned assemblies need a goodness that is a mean over units")
        if moved is not None:
            slope = slope @ functional.one_hot(moved, len(self.weights)).to(slope.dtype)
        gradient = slope[:, 0].T @ goodness.by_unit(hidden)[:, 0] / self.weights.shape[1]
        return self.part(delta), gradient

    def parameters(self) -> dict[str, Tensor]:
        return {"assemblies": self.weights}


class Context(_Plain):
    """The label enters each layer from above: label c is judged by ``activation(W x + U[c])``.

    The trunk ``activation(W x)`` that goes on to the next layer is label-free, so one pass scores every label.

    Parameters
    ----------
    top_down
        U, (C, u), learned with the weights; the same at each place of an image.
    share
        (1, u), summing to 1: share of each unit in the mean.
    size
        Number of units with a share.
    """

    def __init__(self, top_down: Tensor, share: Tensor, size: int) -> None:
        self.top_down = top_down
        self._pool = Pool(share, size)

    def pool(self) -> Pool:
        return self._pool

    def hypotheses(self, activation: Tensor) -> Tensor:
        return activation + self.top_down[:, None, None]

    def at(self, activation: Tensor, moved: Tensor | None) -> Tensor:
        top_down = self.top_down if moved is None else self.top_down[moved]
        return activation + top_down[..., None, None, :]

    def collect(
        self, delta: Tensor, hidden: Tensor, moved: Tensor | None, slope: Tensor, goodness: Goodness
    ) -> tuple[Tensor, Tensor | None]:
        by_label = delta.sum((2, 3))
        if moved is None:
            gradient = by_label.sum(0)
        else:
            at = functional.one_hot(moved, len(self.top_down)).to(delta.dtype)
            gradient = at.flatten(0, 1).T @ by_label.flatten(0, 1)
        return delta.sum(1, keepdim=True), gradient

    def parameters(self) -> dict[str, Tensor]:
        return {"context": self.top_down}


class Whole(_Plain):
    """All units count for the path that they see: that of a label written over the input, or the input itself.

    Parameters
    ----------
    share
        (1, u), summing to 1: share of each unit in the mean.
    size
        Number of units with a share.
    """

    def __init__(self, share: Tensor, size: int) -> None:
        self._pool = Pool(share, size)

    def pool(self) -> Pool:
        return self._pool


def path_of(rows: Tensor, moved: Tensor | None) -> Tensor:
    """Pick the paths of labels (n, t) out of (n, C, ...); a single path serves all labels."""
    if rows.shape[1] == 1 or moved is None:
        return rows
    return rows[torch.arange(len(rows), device=rows.device).unsqueeze(1), moved]


def write_labels(rows: Tensor, labels: int, *, scale: float = 1.0, neutral: bool = False) -> Tensor:
    """Write every label over the first pixels; (n, 1, i) -> (n, C, i) (the paper, section 3.3).

    The label's pixel is set to ``scale`` times the row's largest value, and the other label pixels to 0; in the paper's
    images the scale is 1. ``neutral`` appends a path with all labels in equal parts, (n, C + 1, i).
    """
    codes = torch.eye(labels, dtype=rows.dtype, device=rows.device)
    if neutral:
        codes = functional.pad(codes, (0, 0, 0, 1), value=1 / labels)
    paths = rows.repeat(1, len(codes), 1)
    paths[:, :, :labels] = codes * (scale * rows.amax(-1, keepdim=True))
    return paths
