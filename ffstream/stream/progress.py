"""Progress of learning: its position in the journal and in each feeder's stream."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from ffstream.stream.inbox import SampleBatch

Marks = OrderedDict[str, tuple[int, int]]


class Progress:
    """Start of a replay, and the samples learned and received from each feeder.

    Parameters
    ----------
    feeders
        Maximum number of feeders remembered; the one that fed longest ago is forgotten first.

    Attributes
    ----------
    lsn
        The last record whose effect is in the learner.
    front
        (LSN, offset): the next sample in line is at this offset of that record, or in a later record.
    learned, received
        Feeder to (epoch, next): all its samples below ``next`` are learned, or received.
    """

    def __init__(self, feeders: int) -> None:
        self.feeders = feeders
        self.lsn = 0
        self.front = (0, 0)
        self.learned: Marks = OrderedDict()
        self.received: Marks = OrderedDict()

    def receive(self, batch: SampleBatch) -> None:
        """Note that samples were received."""
        self._mark(self.received, batch)

    def consume(self, batches: Sequence[SampleBatch]) -> dict[str, tuple[int, int]]:
        """Note that samples were learned or set aside; return the marks that moved, by feeder."""
        moved = {batch.feeder: self._mark(self.learned, batch) for batch in batches}
        if batches:
            last = batches[-1]
            self.front = last.lsn, last.offset + len(last.labels)
        return moved

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint must hold."""
        return {"lsn": self.lsn, "front": list(self.front), "feeders": {f: list(m) for f, m in self.learned.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved ``state``."""
        self.lsn, self.front = state["lsn"], tuple(state["front"])
        self.learned = OrderedDict((feeder, (epoch, upto)) for feeder, (epoch, upto) in state["feeders"].items())
        self.received = OrderedDict(self.learned)

    def _mark(self, marks: Marks, batch: SampleBatch) -> tuple[int, int]:
        mark = batch.epoch, batch.first + len(batch.labels)
        # Pushed samples have no feeder, and nobody asks for their mark.
        if batch.feeder:
            marks[batch.feeder] = mark
            marks.move_to_end(batch.feeder)
            if len(marks) > self.feeders:
                marks.popitem(last=False)
        return mark


def first_needed(state: Mapping[str, Any]) -> int:
    """Return the first LSN to replay from a ``Progress.state``: the next sample's or the next record's, if lower."""
    return max(1, min(int(state["front"][0]), int(state["lsn"]) + 1))
