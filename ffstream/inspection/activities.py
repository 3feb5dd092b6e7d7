"""Activities of the hidden layers for an input, compared with a negative version of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from ffstream.inspection.probe import Samples, members
from ffstream.inspection.style import COLOURS, montage, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CORRUPTED: Mapping[Corruption, str] = {
    "blur": "blurred",
    "masks": "mixed with another",
    "noise": "under noise",
    "shuffled": "pixels shuffled",
}
# Maximum number of maps shown of a convolution, and of maps side by side.
MAPS, COLUMNS = 24, 8
# In inches: height of the input and of bars, width of a row of maps, room for the text above and below.
INPUT, BARS, ACROSS, MARGIN = 1.25, 1.3, 3.0, 0.35


@dataclass(frozen=True)
class Version:
    """An input as presented to the network, and the network's response.

    Attributes
    ----------
    sign
        ``positive`` or ``negative``.
    said
        Short description, such as its label or corruption.
    label
        Label that it was presented under; -1 for none.
    image
        (i,): the input.
    goodness
        One value per layer.
    activities, counted
        (places * units,) per layer: activities, and a mask of those that count for the label's goodness.
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
        """Color of its sign."""
        return COLOURS["real" if self.sign == "positive" else "negative"]

    def numbers(self) -> dict[str, Any]:
        """Return the goodness and the activity of the counted units, layer by layer, in plain types."""
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
    """Run the first sample through a network, as it is and as a negative.

    The negative is of the kind that the network learns from: the same input under a wrong label, drawn by the network's
    belief or uniformly, or a corrupted copy, which may need the other samples (``masks``).
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
    owned = [members(layer) for layer in network.layers]
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
    """Draw both versions side by side: the input, then the activities of each layer, on one scale per layer.

    A convolution is drawn as the maps of the most active channels that count, any other layer as bars.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  only where a picture is asked for

    grids = [layer.form.grid for layer in network.layers]
    maps = [None if _as_bars(grid) else _maps(versions, depth, grid) for depth, grid in enumerate(grids)]
    tall = [BARS if one is None else ACROSS * one[0].shape[0] / one[0].shape[1] + MARGIN for one in maps]
    heights = [INPUT, *tall]
    made = Figure(figsize=(7.6, sum(heights) + 1), layout="constrained")
    made.suptitle(title, fontsize="medium")
    axes = made.subplots(len(heights), 2, squeeze=False, height_ratios=heights)
    for ax, version in zip(axes[0], versions, strict=True):
        _draw_input(ax, version, network)
    for depth, (row, grid, shown) in enumerate(zip(axes[1:], grids, maps, strict=True)):
        if shown is None:
            _draw_bars(row, versions, depth, grid)
        else:
            _draw_maps(row, versions, depth, shown)
        threshold = threshold_of(network, depth)
        held = "" if threshold is None else f" (threshold {threshold:.4g})"
        for ax, version in zip(row, versions, strict=True):
            ax.set_title(f"goodness {version.goodness[depth]:.3g}{held}", fontsize="small", loc="right")
    _legend(made, versions, grids)
    return made


def _as_bars(grid: Grid) -> bool:
    """Return True if units are drawn one by one; a convolution has too many, and they are the same at all places."""
    return grid.places == 1 or not grid.alike


def _legend(made: Figure, versions: tuple[Version, Version], grids: Sequence[Grid]) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415  only where a picture is asked for

    handles = [Patch(color=version.colour) for version in versions]
    names = [f"units that count in the {version.sign}'s goodness" for version in versions]
    if any(
        _shows_others(counted, grid)
        for version in versions
        for counted, grid in zip(version.counted, grids, strict=True)
    ):
        handles, names = [*handles, Patch(color=COLOURS["others"])], [*names, "others"]
    made.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize="small")


def _shows_others(counted: Tensor, grid: Grid) -> bool:
    """Return True if units that do not count are drawn: all in bars, only those of partly counted channels in maps."""
    by_channel = counted.view(-1, grid.units)
    return not bool(by_channel.all() if _as_bars(grid) else (by_channel.all(0) | ~by_channel.any(0)).all())


def _draw_input(ax: Axes, version: Version, network: Network) -> None:
    channels, height, width = network.config.image
    if len(network.config.shape) == 1 or channels not in (1, 3):
        plain_axes(ax)
        ax.stairs(version.image.numpy(), fill=True, color="black")
    else:
        planes = version.image.view(channels, height, width)
        shown = planes[0] if channels == 1 else planes.movedim(0, -1).clamp(0, 1)
        ax.imshow(shown.numpy(), cmap="gray")
        ax.set(xticks=[], yticks=[])
    ax.set_title(f"{version.sign}: {version.said}", color=version.colour, fontweight="bold", fontsize="medium")


def _draw_bars(row: Sequence[Axes], versions: tuple[Version, Version], depth: int, grid: Grid) -> None:
    both = torch.stack([version.activities[depth] for version in versions])
    low, high = min(0.0, float(both.min())), float(both.max())
    for ax, version in zip(row, versions, strict=True):
        plain_axes(ax)
        values, counted = version.activities[depth], version.counted[depth]
        ax.stairs(values.where(~counted, 0).numpy(), fill=True, color=COLOURS["others"])
        ax.stairs(values.where(counted, 0).numpy(), fill=True, color=version.colour)
        ax.set(xlim=(0, grid.size), ylim=(1.05 * low, 1.05 * high or 1.0), xlabel="unit")
    row[0].set_ylabel(f"layer {depth + 1}\nactivity")
    row[1].set_yticklabels([])


def _draw_maps(row: Sequence[Axes], versions: tuple[Version, Version], depth: int, shown: Sequence[Tensor]) -> None:
    from matplotlib import colormaps  # noqa: PLC0415  only where a picture is asked for

    finite = torch.cat([one[one.isfinite()] for one in shown])
    high = float(finite.abs().max()) or 1.0
    name, low = ("RdBu_r", -high) if finite.min() < 0 else ("viridis", 0.0)
    colours = colormaps[name].with_extremes(under=COLOURS["others"])
    for ax, one, version in zip(row, shown, versions, strict=True):
        # Units that do not count are below the scale.
        image = ax.imshow(one.nan_to_num(nan=torch.nan, neginf=low - high).numpy(), cmap=colours, vmin=low, vmax=high)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(color=version.colour, linewidth=2)
    row[0].set_ylabel(f"layer {depth + 1}\nmaps")
    row[1].figure.colorbar(image, ax=row[1], label="activity")


def _maps(versions: tuple[Version, Version], depth: int, grid: Grid) -> tuple[Tensor, Tensor]:
    """Arrange the strongest maps of both versions; -inf where a unit does not count, NaN between maps."""
    maps = [
        version.activities[depth].where(version.counted[depth], -torch.inf).view(-1, grid.units).T
        for version in versions
    ]
    chosen = [_strongest(one) for one in maps]
    if torch.equal(versions[0].counted[depth], versions[1].counted[depth]):
        # The same channels in the same places, so that they can be compared.
        chosen[1] = chosen[0]
    columns = min(COLUMNS, max(map(len, chosen)))
    first, second = (
        montage(one[units].view(-1, grid.height, grid.width), columns) for one, units in zip(maps, chosen, strict=True)
    )
    return first, second


def _strongest(maps: Tensor) -> Tensor:
    """Return the indices of the most active maps (units, places) among those that count somewhere."""
    counting = maps.isfinite()
    strongest = maps.where(counting, 0).abs().mean(1).argsort(descending=True)
    return strongest[counting.any(1)[strongest]][:MAPS]
