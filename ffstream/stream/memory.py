"""A bounded memory of what was seen, from which sleep takes its inputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
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
        self._rows = torch.zeros(capacity, width)
        self._labels = torch.zeros(capacity, dtype=torch.int64)

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, rows: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Offer rows (n, width) and labels (n,); sample t of the stream is kept with chance capacity / (t + 1)."""
        arrival = torch.arange(self.seen, self.seen + len(rows), dtype=torch.float64)
        drawn = (torch.rand(len(rows), dtype=torch.float64, generator=generator) * (arrival + 1)).long()
        slots = torch.where(arrival < self.capacity, arrival.long(), drawn)
        # Where two samples of the batch draw one slot, the later one has it: rows and labels must agree on that.
        kept = {slot: row for row, slot in enumerate(slots.tolist()) if slot < self.capacity}
        to, taken = torch.tensor(list(kept), dtype=torch.int64), torch.tensor(list(kept.values()), dtype=torch.int64)
        self._rows[to] = rows[taken]
        self._labels[to] = labels[taken]
        self.seen += len(rows)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw remembered rows (count, width) and their labels (count,), with replacement.

        Raises
        ------
        ValueError
            If nothing is remembered yet.
        """
        if len(self) == 0:
            raise ValueError("nothing is remembered yet; check len() first")
        slots = torch.randint(len(self), (count,), generator=generator)
        return self._rows[slots], self._labels[slots]

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint must hold."""
        return {"rows": self._rows[: len(self)], "labels": self._labels[: len(self)]}

    def restore(self, state: Mapping[str, Tensor], seen: int) -> None:
        """Go on from what ``state`` returned; a memory grown smaller since keeps a uniform part of it."""
        kept = min(len(state["rows"]), self.capacity)
        # Slots are not alike: the first ones hold the oldest samples. A smaller memory takes any of them.
        chosen = torch.randperm(len(state["rows"]), generator=torch.Generator().manual_seed(seen))[:kept].sort().values
        self._rows[:kept] = state["rows"][chosen]
        self._labels[:kept] = state["labels"][chosen]
        # A memory that is not full counts what it holds: else it would draw from slots that were never written.
        self.seen = seen if kept == self.capacity else kept
