"""A row that is learned in a moment, and a watcher that notes what it hears."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ffstream.experiments.row import Row

DECLARED: dict[str, Any] = {
    "name": "small",
    "title": "A small net",
    "dataset": "digits",
    "passes": 4,
    "batch": 64,
    "network": {"shape": [8, 8], "hidden": [40, 40], "precision": "float32"},
}


class Noting:
    """A watcher that notes what it hears, and may interrupt."""

    def __init__(self, batches: int = -1, interrupt: Callable[[], object] | None = None) -> None:
        self.runs: list[tuple[str, int, int, int]] = []
        self.batches = 0
        self.errors: list[float] = []
        self._after, self._interrupt = batches, interrupt

    def begins(self, row: Row, seed: int, batches: int, done: int) -> None:
        self.runs.append((row.name, seed, batches, done))

    def learned(self) -> None:
        self.batches += 1
        if self._interrupt is not None and self.batches == self._after:
            self._interrupt()

    def tested(self, error: float) -> None:
        self.errors.append(error)
