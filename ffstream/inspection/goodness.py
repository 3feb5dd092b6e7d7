"""Separation of real data from negatives by goodness, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from ffstream.ff.layers import Layer
from ffstream.ff.negatives import corrupt, wrong_labels
from ffstream.ff.network import Network
from ffstream.inspection.style import COLOURS, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Samples per forward pass.
CHUNK = 256
BINS = 48


@dataclass(frozen=True)
class Separation:
    """Separation of real data from negatives in one layer.

    Attributes
    ----------
    layer
        Number of the layer, from 1.
    threshold
        Goodness at which the layer is undecided; ``None`` if goodness is compared with that of other labels.
    real_mean, real_deviation, negative_mean, negative_deviation
        Mean and standard deviation of goodness.
    roc_area
        Area under the ROC curve: probability that a real sample has more goodness than a negative; 0.5 is chance.
    d_prime
        Difference of the means in units of the root mean square deviation; ``None`` if goodness does not vary.
    """

    layer: int
    threshold: float | None
    real_mean: float
    real_deviation: float
    negative_mean: float
    negative_deviation: float
    roc_area: float
    d_prime: float | None


def by_sign(network: Network, rows: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    """Return the goodness of real samples, and of the negatives that learning would make from them.

    The values are those of a sweep that learns both signs together, but nothing is learned.

    Parameters
    ----------
    network
        Not changed.
    rows, labels
        (n, i) and (n,): samples.
    generator
        Draws the negatives.

    Returns
    -------
    Tensor
        (n, layers, 2): real, negative.
    """
    parts = zip(torch.split(rows, CHUNK), torch.split(labels, CHUNK), strict=True)
    return torch.cat([_by_sign(network, *part, generator) for part in parts])


def _by_sign(network: Network, rows: Tensor, labels: Tensor, generator: Generator) -> Tensor:
    config = network.config
    hypotheses = network.layers[0].form.labels
    own = labels.unsqueeze(1) if hypotheses > 1 else torch.zeros_like(labels).unsqueeze(1)
    if config.corruption:
        copies = corrupt(config.corruption, rows, config.shape, generator)
        layers = zip(network.look(rows), network.look(copies), strict=True)
        return torch.stack([torch.cat([g.gather(1, own) for g, _ in pair], 1) for pair in layers], 1)
    believed, found = torch.zeros(len(rows), hypotheses), []
    for trust, (every, _) in zip(network.trust, network.look(rows), strict=True):
        # A neutral path may follow those of the labels.
        goodness = every[:, :hypotheses]
        believed = believed + goodness
        noise = torch.empty_like(believed).exponential_(generator=generator)
        found.append(goodness.gather(1, torch.cat([own, wrong_labels(believed * trust, own, noise)], 1)))
    return torch.stack(found, 1)


def threshold_of(network: Network, depth: int) -> float | None:
    """Return the goodness at which a layer is undecided, or ``None`` if it is compared with that of other labels."""
    layer: Layer = network.layers[depth]
    if network.config.stack[depth].against == "labels":
        return None
    return float(layer.running.thresholds.mean()) if layer.form.threshold is None else layer.form.threshold


def separations(network: Network, goodness: Tensor) -> list[Separation]:
    """Measure how well the goodness (n, layers, 2) of each layer separates the two signs."""
    return [_separation(network, depth, *goodness[:, depth].double().T) for depth in range(goodness.shape[1])]


def _separation(network: Network, depth: int, real: Tensor, negative: Tensor) -> Separation:
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415  heavy, and only this needs it

    signs = torch.cat([torch.ones_like(real), torch.zeros_like(negative)])
    deviation = math.sqrt((float(real.var(correction=0)) + float(negative.var(correction=0))) / 2)
    return Separation(
        layer=depth + 1,
        threshold=threshold_of(network, depth),
        real_mean=float(real.mean()),
        real_deviation=float(real.std(correction=0)),
        negative_mean=float(negative.mean()),
        negative_deviation=float(negative.std(correction=0)),
        roc_area=float(roc_auc_score(signs.numpy(), torch.cat([real, negative]).numpy())),
        d_prime=float(real.mean() - negative.mean()) / deviation if deviation else None,
    )


def draw(goodness: Tensor, found: Sequence[Separation], title: str) -> Figure:
    """Draw histograms of the goodness (n, layers, 2) of both signs, one panel per layer, with the threshold."""
    from matplotlib.figure import Figure  # noqa: PLC0415  only where a picture is asked for

    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    made = Figure(figsize=(3.6 * columns + 0.6, 2.7 * rows + 0.7), layout="constrained")
    made.suptitle(title, fontsize="medium")
    for depth, separation in enumerate(found):
        ax = made.add_subplot(rows, columns, depth + 1)
        _histograms(ax, goodness[:, depth], separation)
        if depth % columns == 0:
            ax.set_ylabel("samples")
    handles, names = ax.get_legend_handles_labels()
    made.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    return made


def _histograms(ax: Axes, goodness: Tensor, separation: Separation) -> None:
    plain_axes(ax)
    span = (float(goodness.min()), float(goodness.max()))
    for sign, values in zip(("real", "negative"), goodness.T, strict=True):
        colour, shown = COLOURS[sign], values.numpy()
        ax.hist(shown, BINS, range=span, color=colour, histtype="stepfilled", alpha=0.35, label=sign)
        ax.hist(shown, BINS, range=span, color=colour, histtype="step")
    if separation.threshold is not None:
        ax.axvline(separation.threshold, color="black", linestyle="--", linewidth=1, label="threshold")
    d_prime = "–" if separation.d_prime is None else f"{separation.d_prime:.2f}"
    # Room for the text above the bars.
    ax.margins(y=0.3)
    ax.set(xlabel="goodness", title=f"layer {separation.layer}")
    ax.text(
        0.98, 0.96, f"ROC area {separation.roc_area:.3f}\nd′ {d_prime}", transform=ax.transAxes, ha="right", va="top"
    )
