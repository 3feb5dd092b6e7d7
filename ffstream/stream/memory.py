"""A bounded memory of past samples, from which sleep takes its inputs."""

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
        Maximum number of samples kept.
    width
        Values in one sample.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self.capacity = capacity
        self.seen = 0
        # Written now, so that the system really allocates it: 2 MiB allocated in the middle of a step cost 6 ms.
        self._rows = np.full((capacity, width), 0, np.float32)
        self._labels = np.zeros(capacity, np.int64)

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, rows: NDArray[np.float32], labels: NDArray[np.int64], generator: np.random.Generator) -> None:
        """Offer rows (n, width) and labels (n,); sample t of the stream is kept with probability capacity / (t + 1)."""
        arrival = np.arange(self.seen, self.seen + len(rows))
        drawn = (generator.random(len(rows)) * (arrival + 1)).astype(np.int64)
        slots = np.where(arrival < self.capacity, arrival, drawn)
        kept = np.flatnonzero(slots < self.capacity)
        # If two samples of a batch draw the same slot, NumPy keeps the later one, in rows and labels alike.
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
        """Continue from a saved ``state``; a smaller memory keeps a uniform sample of it."""
        kept = min(len(state["rows"]), self.capacity)
        # Slots differ: the first ones hold the oldest samples. So a smaller memory takes random ones.
        chosen = torch.randperm(len(state["rows"]), generator=torch.Generator().manual_seed(seen))[:kept].sort().values
        self._rows[:kept] = state["rows"][chosen].numpy()
        self._labels[:kept] = state["labels"][chosen].numpy()
        # A memory that is not full counts only what it holds: otherwise it would draw from slots never written.
        self.seen = seen if kept == self.capacity else kept
