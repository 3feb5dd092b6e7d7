"""One pass over a stream of images, in an order: each is predicted, then learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ffstream.config import Config, parse
from ffstream.data.datasets import Dataset
from ffstream.errors import ConfigError
from ffstream.experiments.images import rotated
from ffstream.measuring.lives import Life
from ffstream.measuring.nets import widths

STREAMS = ("shuffled", "sorted", "drift")
# How far the images of ``drift`` have turned at the end, in degrees.
TURN = 90.0


@dataclass(frozen=True)
class Stream:
    """Samples in the order in which they come, and what is tested at the end.

    Attributes
    ----------
    inputs, labels
        (n, *shape) uint8 and (n,) int64.
    test
        The test images as the stream is at its end, and their labels.
    """

    inputs: NDArray[np.uint8]
    labels: NDArray[np.int64]
    test: tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class OnePass:
    """What is lived through, and by what.

    Attributes
    ----------
    data
        Images.
    net
        Widths by name, 784-512-512.
    batch
        Samples a step.
    seeds
        Lives of each kind, with seeds 0, 1, …
    compiled
        Whether the sweep is compiled.
    device
        By name.
    """

    data: Dataset
    net: str
    batch: int
    seeds: int
    compiled: bool
    device: str

    def check(self) -> None:
        """See whether the net fits the images.

        Raises
        ------
        ConfigError
            If it does not.
        """
        if widths(self.net)[0] != math.prod(self.data.shape):
            raise ConfigError(
                f"--net {self.net}: a sample has {math.prod(self.data.shape)} values; begin the net with that number"
            )

    def config(self, name: str, seed: int, sections: Mapping[str, Mapping[str, Any]]) -> Config:
        """Return the configuration of a life of Forward-Forward, and what else some sections of it say."""
        data = self.data
        network = {"shape": data.shape, "labels": data.labels, "hidden": widths(self.net)[1:], "seed": seed}
        engine = {"device": self.device, "max_batch": self.batch, "compile": self.compiled}
        engine |= sections.get("engine", {})
        return parse({**sections, "network": network, "engine": engine}, name)

    def live(self, life: Life, stream: Stream) -> NDArray[np.bool_]:
        """Live through a stream; return which samples were predicted right before they were learned, (n,)."""
        parts = [slice(start, start + self.batch) for start in range(0, len(stream.labels), self.batch)]
        predicted = [life.learn(stream.inputs[part], stream.labels[part]) for part in parts]
        right: NDArray[np.bool_] = np.concatenate(predicted) == stream.labels
        return right


def make_stream(name: str, data: Dataset, seed: int) -> Stream:
    """Put the training images in an order.

    Parameters
    ----------
    name
        ``shuffled``; ``sorted``, all of one label before the first of the next; ``drift``, shuffled and turned a
        little further with each sample, by 90 degrees in all, as the test images then are.
    data
        Images.
    seed
        Of the order.
    """
    inputs, labels = data.train
    order = np.random.default_rng(seed).permutation(len(labels))
    if name == "sorted":
        order = order[np.argsort(labels[order], kind="stable")]
    if name != "drift":
        return Stream(inputs[order], labels[order], data.test)
    angles = torch.linspace(0, TURN, len(order))
    turned = rotated(torch.from_numpy(inputs[order]), angles).numpy()
    test = rotated(torch.from_numpy(data.test[0]), torch.full((len(data.test[0]),), TURN)).numpy()
    return Stream(turned, labels[order], (test, data.test[1]))
