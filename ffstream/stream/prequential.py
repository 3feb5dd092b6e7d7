"""Prequential accuracy: test, then train, on the prediction as it was served (Dawid 1984; Gama et al. 2013)."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Prequential:
    """Accuracy over the whole stream and over its last samples.

    Parameters
    ----------
    window
        Samples in the windowed accuracy. Samples without a label are not to be counted: nothing is right about them.

    Examples
    --------
    >>> scores = Prequential(window=2)
    >>> scores.add(np.array([True, False, True]))
    >>> round(scores.total, 2), scores.windowed
    (0.67, 0.5)
    """

    def __init__(self, window: int) -> None:
        self.count = 0
        self.correct = 0
        self._window: deque[bool] = deque(maxlen=window)

    def add(self, correct: NDArray[np.bool_]) -> None:
        """Count predictions; (n,), true where the served label was right."""
        self.count += len(correct)
        self.correct += int(np.count_nonzero(correct))
        self._window.extend(correct.tolist())

    @property
    def total(self) -> float:
        """Accuracy over the whole stream; nan before the first labelled sample."""
        return self.correct / self.count if self.count else float("nan")

    @property
    def windowed(self) -> float:
        """Accuracy over the last samples; nan before the first labelled one."""
        return sum(self._window) / len(self._window) if self._window else float("nan")

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {"count": self.count, "correct": self.correct, "window": "".join("01"[hit] for hit in self._window)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.count, self.correct = state["count"], state["correct"]
        self._window.clear()
        self._window.extend(hit == "1" for hit in state["window"])
