"""Weights of the first layer's units, as images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ffstream.errors import CheckpointError
from ffstream.ff.network import Network
from ffstream.inspection.probe import members, seeded
from ffstream.inspection.style import montage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Maximum number of units in a row of the figure.
COLUMNS = 10


@dataclass(frozen=True)
class Field:
    """One unit of the first layer; if receptive fields share no weights, the units of one number at all places.

    Attributes
    ----------
    unit
        Number of the unit.
    norm
        Norm of its weights.
    label
        Label that owns it; ``None`` if no label owns it exclusively.
    """

    unit: int
    norm: float
    label: int | None


def images(network: Network) -> Tensor:
    """Return the weights of each unit of the first layer as images (units, h, w), or (units, h, w, 3) in color.

    A dense unit sees the whole sample, and a channel of a convolution has one kernel. A unit of local receptive fields
    has one patch per place; the patches are arranged by place, with NaN between them.

    Raises
    ------
    CheckpointError
        If samples are not images, or do not have one or three channels.
    """
    config, first = network.config, network.layers[0]
    channels, height, width = config.image
    if len(config.shape) == 1 or channels not in (1, 3):
        raise CheckpointError(
            f"a sample of shape {config.shape} is not an image; its shape must be (height, width), or have one or "
            "three channels first"
        )
    layer, grid, weight = config.stack[0], first.form.grid, first.weight.float()
    side = (height, width) if layer.kind == "dense" else (layer.kernel, layer.kernel)
    tiles = weight.view(-1, channels, *side)
    tiles = tiles.movedim(1, -1) if channels == 3 else tiles[:, 0]
    if layer.kind != "local":
        return tiles
    by_unit = tiles.view(grid.places, grid.units, *tiles.shape[1:]).transpose(0, 1)
    return torch.stack([montage(patches, grid.width) for patches in by_unit])


def choose(network: Network, count: int, seed: int | None) -> list[Field]:
    """Choose the units with the largest weight norms, or random units if a seed is given; sort them by label."""
    first, kind = network.layers[0], network.config.stack[0].kind
    units = first.form.grid.units
    norms = first.weight.float().view(-1, units, first.weight.shape[1]).square().sum((0, 2)).sqrt()
    order = norms.argsort(descending=True) if seed is None else torch.randperm(units, generator=seeded(seed))
    owned = members(first)[:, :units]
    # A unit of local receptive fields belongs to different labels at different places.
    alone = len(owned) > 1 and kind != "local" and int(owned.sum(0).max()) == 1
    chosen = [
        Field(unit, float(norms[unit]), int(owned[:, unit].long().argmax()) if alone and owned[:, unit].any() else None)
        for unit in order[:count].tolist()
    ]
    return sorted(chosen, key=lambda field: math.inf if field.label is None else field.label)


def draw(tiles: Tensor, chosen: Sequence[Field], title: str) -> Figure:
    """Draw the images (units, h, w[, 3]) of the chosen units on one scale, symmetric about 0."""
    from matplotlib.figure import Figure  # noqa: PLC0415  only where a picture is asked for

    shown = tiles[[field.unit for field in chosen]]
    scale = float(shown.nan_to_num().abs().max()) or 1.0
    columns = min(COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    tall = shown.shape[1] / shown.shape[2]
    made = Figure(figsize=(0.95 * columns + 1.3, (0.87 * tall + 0.22) * rows + 0.5), layout="constrained")
    made.suptitle(title, fontsize="medium")
    axes = made.subplots(rows, columns, squeeze=False)
    for ax, field, tile in zip(axes.flat, chosen, shown, strict=False):
        if tile.ndim == 3:
            ax.imshow(((tile / scale + 1) / 2).nan_to_num(nan=1.0).numpy())
        else:
            image = ax.imshow(tile.numpy(), cmap="RdBu_r", vmin=-scale, vmax=scale)
        name = f"unit {field.unit}" if field.label is None else f"{field.unit}: label {field.label}"
        ax.set_title(name, fontsize="x-small", pad=2)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(color="lightgrey")
    for ax in axes.flat[len(chosen) :]:
        ax.axis("off")
    if shown.ndim == 3:
        made.colorbar(image, ax=axes, shrink=0.8, aspect=30, label="weight")
    return made
