"""What an input does to the hidden layers, beside what a negative version of it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from ffstream.config.network import Corruption
from ffstream.ff.grid import Grid
from ffstream.ff.labels import write_labels
from ffstream.ff.negatives import corrupt, wrong_labels
from ffstream.ff.network import Network
from ffstream.inspection.goodness import threshold_of
from ffstream.inspection.probe import Samples, shares
from ffstream.inspection.style import COLOURS, montage, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CORRUPTED: Mapping[Corruption, str] = {
    "blur": "blurred",
    "masks": "mixed with another by a mask",
    "noise": "under noise",
    "shuffled": "its pixels shuffled",
}
# Maps of units that are shown of a layer with places, and of those side by side.
MAPS, COLUMNS = 24, 8
INCHES = {"input": 1.25, "dense": 1.3, "maps": 1.55}


@dataclass(frozen=True)
class Version:
    """An input as the network met it, and what it did.

    Attributes
    ----------
    sign
        ``positive`` or ``negative``.
    said
        What is true or wrong about it.
    label
        Under which it was met; -1 for none.
    image
        (i,): what entered.
    goodness
        A number a layer.
    activities, counted
        (places * units,) a layer: activities, and which of them count for the label's goodness.
    """

    sign: str
    said: str
    label: int
    image: Tensor
    goodness: list[float]
    activities: list[Tensor]
    counted: list[Tensor]

    @property
    def colour(self) -> str:
        """The colour of its sign."""
        return COLOURS["real" if self.sign == "positive" else "negative"]

    def numbers(self) -> dict[str, Any]:
        """Return goodness, and how active the units that count are, layer by layer, in plain types."""
        counted = [values[mask] for values, mask in zip(self.activities, self.counted, strict=True)]
        return {
            "sign": self.sign,
            "said": self.said,
            "label": self.label,
            "layers": [
                {
                    "goodness": goodness,
                    "units": len(values),
                    "mean_activity": float(values.mean()),
                    "active_share": float((values > 0).float().mean()),
                }
                for goodness, values in zip(self.goodness, counted, strict=True)
            ],
        }


def compare(network: Network, samples: Samples, generator: Generator) -> tuple[Version, Version]:
    """Show a network the first of some samples, as it is and as a negative.

    The negative is what the network learns from: the same input under a wrong label, drawn from what it believes or each
    alike, or a corrupted copy, for which the other samples may be needed (``masks``).
    """
    config, row, own = network.config, samples.rows[:1], samples.labels[:1]
    said = "unlabelled" if own < 0 else f"label {int(own)}"
    positive = _version(network, row, own, "positive", said)
    if config.corruption:
        corrupted = corrupt(config.corruption, samples.rows, config.shape, generator)[:1]
        return positive, _version(network, corrupted, own, "negative", CORRUPTED[config.corruption])
    total = sum((goodness[:, : config.labels] for goodness, _ in network.look(row)), torch.zeros(1, config.labels))
    noise = torch.empty_like(total).exponential_(generator=generator)
    wrong = wrong_labels(total * network.trust[-1], own.unsqueeze(1), noise)[0]
    return positive, _version(network, row, wrong, "negative", f"label {int(wrong)}, which is wrong")


def _version(network: Network, row: Tensor, label: Tensor, sign: str, said: str) -> Version:
    config, at = network.config, int(label)
    image = row[0]
    if config.coding == "overlay":
        image = write_labels(row.unsqueeze(1), config.labels)[0, at]
    looked = list(network.look(row, label.unsqueeze(1)))
    owned = [shares(layer) > 0 for layer in network.layers]
    return Version(
        sign,
        said,
        at,
        image,
        goodness=[float(goodness[0, 0 if config.coding == "none" else at]) for goodness, _ in looked],
        activities=[activities[0, 0] for _, activities in looked],
        counted=[mask[at if len(mask) > 1 else 0] for mask in owned],
    )


def draw(network: Network, versions: tuple[Version, Version], title: str) -> Figure:
    """Draw both versions side by side: the input, then layer by layer what the units make of it, on one scale."""
    from matplotlib.figure import Figure  # noqa: PLC0415  only where a picture is asked for
    from matplotlib.patches import Patch  # noqa: PLC0415

    grids = [layer.form.grid for layer in network.layers]
    heights = [INCHES["input"], *(INCHES["dense" if grid.places == 1 else "maps"] for grid in grids)]
    made = Figure(figsize=(7.6, sum(heights) + 1), layout="constrained")
    made.suptitle(title, fontsize="medium")
    axes = made.subplots(len(heights), 2, squeeze=False, height_ratios=heights)
    for ax, version in zip(axes[0], versions, strict=True):
        _draw_input(ax, version, network)
    for depth, (row, grid) in enumerate(zip(axes[1:], grids, strict=True)):
        (_draw_bars if grid.places == 1 else _draw_maps)(row, versions, depth, grid)
        threshold = threshold_of(network, depth)
        held = "" if threshold is None else f" (threshold {threshold:.4g})"
        for ax, version in zip(row, versions, strict=True):
            ax.set_title(f"goodness {version.goodness[depth]:.3g}{held}", fontsize="small", loc="right")
    for ax in axes[-1]:
        ax.set_xlabel("unit" if grids[-1].places == 1 else "")
    handles = [Patch(color=version.colour) for version in versions]
    names = [f"units that count in the {version.sign}'s goodness" for version in versions]
    if not all(mask.all() for version in versions for mask in version.counted):
        handles, names = [*handles, Patch(color=COLOURS["others"])], [*names, "others"]
    made.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize="small")
    return made


def _draw_input(ax: Axes, version: Version, network: Network) -> None:
    channels, height, width = network.config.image
    image = version.image
    if len(network.config.shape) == 1 or channels not in (1, 3):
        plain_axes(ax)
        ax.stairs(image.numpy(), fill=True, color="black")
    else:
        planes = image.view(channels, height, width)
        shown = planes[0] if channels == 1 else planes.movedim(0, -1).clamp(0, 1)
        ax.imshow(shown.numpy(), cmap="gray")
        ax.set(xticks=[], yticks=[])
    ax.set_title(f"{version.sign}: {version.said}", color=version.colour, fontweight="bold")


def _draw_bars(row: list[Axes], versions: tuple[Version, Version], depth: int, grid: Grid) -> None:
    both = torch.stack([version.activities[depth] for version in versions])
    low, high = min(0.0, float(both.min())), float(both.max())
    for ax, version in zip(row, versions, strict=True):
        plain_axes(ax)
        values, counted = version.activities[depth], version.counted[depth]
        ax.stairs(values.where(~counted, 0).numpy(), fill=True, color=COLOURS["others"])
        ax.stairs(values.where(counted, 0).numpy(), fill=True, color=version.colour)
        ax.set(xlim=(0, grid.units), ylim=(1.05 * low, 1.05 * high or 1.0))
    row[0].set_ylabel(f"layer {depth + 1}\nactivity")
    row[1].set_yticklabels([])


def _draw_maps(row: list[Axes], versions: tuple[Version, Version], depth: int, grid: Grid) -> None:
    maps = [_maps(version.activities[depth], version.counted[depth], grid) for version in versions]
    strongest = [_strongest(one) for one in maps]
    if torch.equal(versions[0].counted[depth], versions[1].counted[depth]):
        # The same units in the same places, so that they can be compared.
        strongest[1] = strongest[0]
    shown = [montage(one[units], COLUMNS) for one, units in zip(maps, strongest, strict=True)]
    high = max(float(one.nan_to_num().abs().max()) for one in shown) or 1.0
    signed = any(float(one.nan_to_num().min()) < 0 for one in shown)
    style = {"cmap": "RdBu_r", "vmin": -high, "vmax": high} if signed else {"cmap": "viridis", "vmin": 0, "vmax": high}
    for ax, one, version in zip(row, shown, versions, strict=True):
        ax.set(xticks=[], yticks=[], facecolor=COLOURS["others"])
        image = ax.imshow(one.numpy(), **style, aspect="auto")
        ax.spines[:].set(color=version.colour, linewidth=2)
    row[0].set_ylabel(f"layer {depth + 1}\n{len(strongest[0])} of {grid.units} maps")
    row[1].figure.colorbar(image, ax=row[1], label="activity")


def _maps(values: Tensor, counted: Tensor, grid: Grid) -> Tensor:
    """See activities (places * units,) as maps (units, height, width), NaN where they do not count."""
    return values.where(counted, torch.nan).view(grid.height, grid.width, grid.units).movedim(2, 0)


def _strongest(maps: Tensor) -> Tensor:
    """Return the numbers of the maps (units, height, width) that are most active, of those that count somewhere."""
    strength = maps.abs().nanmean((1, 2))
    return strength.nan_to_num(nan=-1).argsort(descending=True)[: min(MAPS, int((~strength.isnan()).sum()))]
