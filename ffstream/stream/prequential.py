"""Prequential (test-then-train) accuracy of the predictions as served (Dawid 1984; Gama et al. 2013)."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffstream.wire import UNLABELLED


class Prequential:
    """Accuracy over the whole stream and over its last samples.

    Parameters
    ----------
    window
        Number of samples in the windowed accuracy.
    every
        Number of batches between reads of predictions from the device: on a GPU, a read waits for it.

    Examples
    --------
    >>> scores = Prequential(window=2)
    >>> scores.add(torch.tensor([3, 1, 2]), np.array([3, 0, 2]))
    >>> round(scores.total, 2), scores.windowed
    (0.67, 0.5)
    """

    def __init__(self, window: int, every: int = 1) -> None:
        self.count = 0
        self.correct = 0
        self._window: deque[bool] = deque(maxlen=window)
        self._every = every
        self._unread: list[tuple[Tensor, NDArray[np.int64]]] = []

    def add(self, predicted: Tensor, labels: NDArray[np.int64]) -> None:
        """Add predictions (n,), as served, for samples with labels (n,).

        Samples without a label are not counted, since nothing says if the prediction is right.
        """
        self._unread.append((predicted, labels))
        if len(self._unread) >= self._every:
            self.read()

    def read(self) -> None:
        """Count the added predictions; only for the thread that learns, since other threads read the counts."""
        if not self._unread:
            return
        predicted = torch.cat([predicted for predicted, _ in self._unread]).cpu().numpy()
        labels = np.concatenate([labels for _, labels in self._unread])
        self._unread.clear()
        correct = (predicted == labels)[labels != UNLABELLED]
        self.count += len(correct)
        self.correct += int(np.count_nonzero(correct))
        self._window.extend(correct.tolist())

    @property
    def total(self) -> float:
        """Accuracy over the whole stream; nan before the first labeled sample."""
        return self.correct / self.count if self.count else float("nan")

    @property
    def windowed(self) -> float:
        """Accuracy over the last samples; nan before the first labeled one."""
        return sum(self._window) / len(self._window) if self._window else float("nan")

    def state(self) -> dict[str, Any]:
        """Return the state that a checkpoint must hold."""
        self.read()
        return {"count": self.count, "correct": self.correct, "window": "".join("01"[hit] for hit in self._window)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved ``state``."""
        self._unread.clear()
        self.count, self.correct = state["count"], state["correct"]
        self._window.clear()
        self._window.extend(hit == "1" for hit in state["window"])
