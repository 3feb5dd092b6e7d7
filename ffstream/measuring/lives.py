"""Contenders that live through a stream: each predicts a batch, then learns it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffstream.config import Config
from ffstream.measuring.nets import Backprop
from ffstream.stream.learner import Learner

TEST_ROWS = 500
CPU = torch.device("cpu")


class Predictor(Protocol):
    """A contender that can be tested."""

    def predict(self, inputs: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Predict the labels of images without learning them."""


class Life(Predictor, Protocol):
    """A contender that learns."""

    def learn(self, inputs: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Predict a batch, then learn it; return the predictions."""


class ForwardLife:
    """The daemon's learner, in process, with its naps and memory."""

    def __init__(self, config: Config) -> None:
        self.learner = Learner(config)
        self.learner.compile()

    def learn(self, inputs: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        self.learner.advance(quiet=False)
        while self.learner.asleep:
            self.learner.step([], labels[:0], [])
            self.learner.advance(quiet=False)
        predicted: NDArray[np.int64] = self.learner.step([inputs], labels, []).predicted.cpu().numpy()
        return predicted

    def predict(self, inputs: NDArray[np.uint8]) -> NDArray[np.int64]:
        predicted: NDArray[np.int64] = (
            self.learner.network.sweep(rows_of(inputs, self.learner.device)).labels().cpu().numpy()
        )
        return predicted


class BackpropLife:
    """Backprop on the same batches."""

    def __init__(self, net: str, dtype: torch.dtype, seed: int, rate: float, device: torch.device = CPU) -> None:
        self.device = device
        self.model = Backprop(net, dtype, device, compiled=False, seed=seed, rate=rate)

    def learn(self, inputs: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.int64]:
        taught = torch.from_numpy(labels).to(self.device)
        predicted: NDArray[np.int64] = self.model.step(rows_of(inputs, self.device), taught).cpu().numpy()
        return predicted

    def predict(self, inputs: NDArray[np.uint8]) -> NDArray[np.int64]:
        predicted: NDArray[np.int64] = self.model.predict(rows_of(inputs, self.device)).cpu().numpy()
        return predicted


def accuracy(life: Predictor, inputs: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Return the share of images that a contender predicts right, without learning."""
    right = [
        life.predict(inputs[start : start + TEST_ROWS]) == labels[start : start + TEST_ROWS]
        for start in range(0, len(labels), TEST_ROWS)
    ]
    return float(np.concatenate(right).mean())


def rows_of(inputs: NDArray[np.uint8], device: torch.device = CPU) -> Tensor:
    """Return images (n, *shape) as rows (n, i) float32 in 0 … 1 on a device."""
    return torch.from_numpy(np.ascontiguousarray(inputs)).to(device).flatten(1).float() / 255
