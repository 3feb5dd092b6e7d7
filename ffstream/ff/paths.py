"""Paths of a row through the layers.

Under ``overlay`` coding there is one path per label, with the label written over the row; a read-out adds a neutral
path, which comes last (the paper, section 3.3). Every other coding has one path.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ffstream.config import NetworkConfig
from ffstream.ff.labels import path_of, write_labels
from ffstream.ff.lesson import Teaching
from ffstream.ff.negatives import wrong_labels


def count_paths(network: NetworkConfig) -> int:
    """Return the number of paths per row."""
    return network.labels + (network.readout != "none") if network.coding == "overlay" else 1


def count_hypotheses(paths: Tensor, network: NetworkConfig) -> int:
    """Return the number of labels that have a goodness, for rows on paths (n, p, i)."""
    if network.coding == "overlay":
        return paths.shape[1] - (network.readout != "none")
    return 1 if network.coding == "none" else network.labels


def make_paths(rows: Tensor, network: NetworkConfig) -> Tensor:
    """Turn rows (n, i), as sent, into paths (n, p, i), as the first layer takes them."""
    paths = rows.unsqueeze(1)
    if network.coding == "overlay":
        neutral = network.readout != "none"
        paths = write_labels(paths, network.labels, scale=network.overlay_scale, neutral=neutral)
    return _by_place(paths, network)


def taught_paths(
    paths: Tensor,
    teaching: Teaching,
    network: NetworkConfig,
    goodness: Callable[[Tensor], Tensor],
    generator: torch.Generator | None,
) -> tuple[Tensor, Teaching]:
    """Keep only the paths (n, p, i) of the true label, a wrong one, and the neutral one, if these suffice.

    All layers lower the same wrong label, drawn from the belief of the first layer: only it sees every label.

    Parameters
    ----------
    goodness
        Returns the first layer's goodness (n, C) of paths (n, C, i); called if negatives are drawn from belief.
    generator
        Draws the wrong labels.

    Returns
    -------
    tuple
        The paths, and the teaching, in which the true label is that of the first path.
    """
    if network.coding != "overlay" or network.corruption:
        return paths, teaching
    noise = torch.ones(len(paths), network.labels, device=paths.device).exponential_(generator=generator)
    felt = goodness(paths[:, : network.labels]) if network.negatives == "belief" else torch.zeros_like(noise)
    kept = torch.cat([teaching.labels, wrong_labels(felt, teaching.labels, noise)], 1)
    if network.readout != "none":
        kept = functional.pad(kept, (0, 1), value=network.labels)
    return path_of(paths, kept), teaching._replace(labels=torch.zeros_like(teaching.labels))


def _by_place(paths: Tensor, network: NetworkConfig) -> Tensor:
    """Group the channels of each place, as layers with places expect."""
    channels = network.image[0]
    if channels == 1 or not network.placed:
        return paths
    places = paths.shape[2] // channels
    return paths.view(*paths.shape[:2], channels, places).transpose(2, 3).flatten(2)
