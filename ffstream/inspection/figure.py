"""Figure of the change between two checkpoints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ffstream.inspection.change import changes, learned, moved
from ffstream.stream.snapshot import Snapshot

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

FIRST = (1, "weight")
# Number of first-layer units shown.
SHOWN = 8


def draw(before: Snapshot, after: Snapshot, names: tuple[str, str]) -> Figure:
    """Draw how far each layer moved and, for gray images, the weights of the first-layer units that moved most.

    Parameters
    ----------
    before, after
        Two checkpoints of the same network.
    names
        Names of the checkpoints.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  only where a picture is asked for

    shape, fan_in = tuple(after.manifest["network"]["shape"]), learned(after)[FIRST].shape[1]
    images = len(shape) == 2
    # A unit of a convolution, or of a local layer, sees a square window.
    seen = shape if fan_in == math.prod(shape) else (math.isqrt(fan_in),) * 2
    made = Figure(figsize=(14 if images else 5, 4.2), layout="constrained")
    made.suptitle(f"from {names[0]} (version {before.version}) to {names[1]} (version {after.version})")
    parts = made.subfigures(1, 2 if images else 1, width_ratios=(1, 2.2) if images else None, squeeze=False)[0]
    _draw_layers(parts[0], before, after)
    if images:
        _draw_fields(parts[1], learned(before)[FIRST], learned(after)[FIRST], seen)
    return made


def _draw_layers(part: SubFigure, before: Snapshot, after: Snapshot) -> None:
    found = changes(before, after)
    ax = part.subplots()
    bars = ax.bar(
        [f"layer {change.layer}\n{change.part}" for change in found],
        [100 * change.relative for change in found],
        color="tab:blue",
    )
    ax.bar_label(bars, [f"{100 * change.relative:.3g} %" for change in found])
    ax.set(ylabel="norm of the change, % of the norm before", title="how far each layer moved")
    ax.margins(y=0.1)
    ax.spines[["top", "right"]].set_visible(False)


def _draw_fields(part: SubFigure, before: Tensor, after: Tensor, shape: tuple[int, ...]) -> None:
    """Draw the input weights of the units that moved most: before, after, and their difference."""
    distance = moved(before, after)
    units = distance.argsort(descending=True)[:SHOWN]
    part.suptitle("what the units of the first layer that moved most respond to", fontsize="medium")
    rows = {"before": before[units], "after": after[units], "change": after[units] - before[units]}
    # Before and after share a scale; the change has its own, or it would be barely visible.
    whole = float(torch.cat([rows["before"], rows["after"]]).abs().max()) or 1.0
    scales = {"before": whole, "after": whole, "change": float(rows["change"].abs().max()) or 1.0}
    axes = part.subplots(len(rows), len(units), squeeze=False)
    for row, (name, fields) in zip(axes, rows.items(), strict=True):
        for ax, field in zip(row, fields, strict=True):
            image = ax.imshow(field.reshape(shape).numpy(), cmap="RdBu_r", vmin=-scales[name], vmax=scales[name])
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
        part.colorbar(image, ax=row, shrink=0.9)
    for ax, unit in zip(axes[0], units, strict=True):
        ax.set_title(f"unit {int(unit)}", fontsize="small")
