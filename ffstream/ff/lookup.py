"""Label lookup in a read-out: under ``overlay`` coding, few paths instead of one per label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ffstream.ff.labels import path_of
from ffstream.ff.paths import make_paths
from ffstream.ff.scores import Scores, listed_first

if TYPE_CHECKING:
    from ffstream.ff.network import Network
    from ffstream.ff.readout import Readout


def look_up(network: Network, readout: Readout, rows: Tensor) -> Scores:
    """Predict rows (n, i) from the read-out of the neutral path, or by cascade from the paths that it lists.

    Nothing is learned. Goodness is NaN for labels whose path was not taken.
    """
    paths, config = make_paths(rows, network.config), network.config
    logits = readout.read(torch.cat(network.scan(paths[:, -1:]).activities, 1))
    goodness = torch.full((len(rows), len(network.layers), config.labels), torch.nan, device=rows.device)
    evidence, none = logits, torch.empty(0, len(network.layers), 0, device=rows.device)
    if network.prediction == "cascade":
        listed = listed_first(logits, config.shortlist)
        found = torch.cat(network.scan(path_of(paths, listed)).goodness, 1)
        goodness.scatter_(2, listed.unsqueeze(1).expand(-1, len(network.layers), -1), found)
        evidence = goodness.mean(1).nan_to_num(nan=-torch.inf)
    return Scores(evidence, goodness.sum(1), goodness, none, none)
