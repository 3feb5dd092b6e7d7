"""A bounded memory of what was seen, from which sleep takes its inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Memory:
    """A uniform sample of the stream so far (reservoir sampling: Vitter 1985, Algorithm R).

    Parameters
    ----------
    capacity
        Samples kept at most.
    width
        Values in one sample.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self.capacity = capacity
        self.seen = 0
        # Written now, and not only promised by the system: 2 MiB of it taken in the middle of a step cost 6 ms.
        self._rows = np.full((capacity, width), 0, np.float32)
        self._labels = np.zeros(capacity, np.int64)

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, rows: NDArray[np.float32], labels: NDArray[np.int64], generator: np.random.Generator) -> None:
        """Offer rows (n, width) and labels (n,); sample t of the stream is kept with chance capacity / (t + 1)."""
        arrival = np.arange(self.seen, self.seen + len(rows))
        drawn = (generator.random(len(rows)) * (arrival + 1)).astype(np.int64)
        slots = np.where(arrival < self.capacity, arrival, drawn)
        kept = np.flatnonzero(slots < self.capacity)
        # Where two samples of the batch draw one slot, NumPy lets the later one have it, in rows and labels alike.
        self._rows[slots[kept]] = rows[kept]
        self._labels[slots[kept]] = labels[kept]
        self.seen += len(rows)

    def draw(self, count: int, generator: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Draw remembered rows (count, width) and their labels (count,), with replacement.

        Raises
        ------
        ValueError
            If nothing is remembered yet.
        """
        if len(self) == 0:
            raise ValueError("nothing is remembered yet; check len() first")
        slots = generator.integers(len(self), size=count)
        return self._rows[slots], self._labels[slots]

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint must hold."""
        return {
            "rows": torch.from_numpy(self._rows[: len(self)]),
            "labels": torch.from_numpy(self._labels[: len(self)]),
        }

    def restore(self, state: Mapping[str, Tensor], seen: int) -> None:
        """Go on from what ``state`` returned; a memory grown smaller since keeps a uniform part of it."""
        kept = min(len(state["rows"]), self.capacity)
        # Slots are not alike: the first ones hold the oldest samples. A smaller memory takes any of them.
        chosen = torch.randperm(len(state["rows"]), generator=torch.Generator().manual_seed(seen))[:kept].sort().values
        self._rows[:kept] = state["rows"][chosen].numpy()
        self._labels[:kept] = state["labels"][chosen].numpy()
        # A memory that is not full counts what it holds: else it would draw from slots that were never written.
        self.seen = seen if kept == self.capacity else kept
