"""Source of the rows of sleep: remembered samples, dreams, or both."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from ffstream.config import Config
from ffstream.ff.network import Network
from ffstream.stream.memory import Memory
from ffstream.wire import UNLABELLED


class Rows(NamedTuple):
    """The rows of a sleep step: dreams (d, width), remembered samples (r, width), and their labels (d + r,)."""

    dreams: NDArray[np.float32]
    remembered: NDArray[np.float32]
    labels: NDArray[np.int64]


class Sleep:
    """Draws the rows that sleep learns from.

    Parameters
    ----------
    config
        The whole configuration; ``dreams.source`` selects the source.
    network
        Makes dreams.
    memory
        Remembers samples.
    """

    def __init__(self, config: Config, network: Network, memory: Memory) -> None:
        self.network = network
        self.memory = memory
        self._source = config.dreams.source
        self._unlabelled = config.network.coding == "none"

    @property
    def ready(self) -> bool:
        """True if there is something to sleep on."""
        return (self._source == "dream" or len(self.memory) > 0) and (self.network.dreams is None or self.dreams)

    @property
    def dreams(self) -> bool:
        """True if the network has seen enough to dream."""
        return self.network.dreams is not None and self.network.dreams.ripe

    def rows(self, count: int, draws: np.random.Generator, generator: Generator) -> Rows:
        """Draw the rows of a step; with the source ``hybrid``, half of them, rounded up, are dreams."""
        dreamed = {"memory": 0, "hybrid": -(-count // 2), "dream": count}[self._source]
        width = self.network.config.width
        dreams, labels = np.empty((0, width), np.float32), np.empty(0, np.int64)
        if dreamed:
            made, under = self._dream(dreamed, generator)
            dreams = made.cpu().numpy()
            labels = np.full(dreamed, UNLABELLED) if self._unlabelled else under.cpu().numpy()
        if dreamed == count:
            return Rows(dreams, np.empty((0, width), np.float32), labels)
        remembered, true = self.memory.draw(count - dreamed, draws)
        return Rows(dreams, remembered, np.concatenate([labels, true]))

    def probe(self, count: int, draws: np.random.Generator, generator: Generator) -> Tensor | None:
        """Return remembered rows (count, width), or dreams if none are kept; ``None`` before there are any."""
        if len(self.memory):
            return torch.from_numpy(self.memory.draw(count, draws)[0]).to(self.network.device)
        return self._dream(count, generator)[0] if self.dreams else None

    def _dream(self, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return dreams (count, width) of labels that were seen, and those labels (count,)."""
        if self.network.dreams is None:
            raise ValueError("the network learns no dreams; set dreams.source")
        labels = self.network.dreams.draw_labels(count, generator)
        return self.network.dream(labels, generator), labels
