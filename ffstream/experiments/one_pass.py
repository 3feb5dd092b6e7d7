"""One pass over an ordered stream of images: each is predicted, then learned."""

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
# Rotation of the images of ``drift`` at the end of the stream, in degrees.
TURN = 90.0


@dataclass(frozen=True)
class Stream:
    """Samples in the order of the stream, and the test images for its end.

    Attributes
    ----------
    inputs, labels
        (n, *shape) uint8 and (n,) int64.
    test
        Test images, transformed like the end of the stream, and their labels.
    """

    inputs: NDArray[np.uint8]
    labels: NDArray[np.int64]
    test: tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True)
class OnePass:
    """Settings of an experiment with one pass.

    Attributes
    ----------
    data
        Images.
    net
        Widths by name, such as 784-512-512.
    batch
        Samples per step.
    seeds
        Lives of each kind, with seeds 0, 1, …
    compiled
        True to compile the sweep.
    device
        Device by name.
    """

    data: Dataset
    net: str
    batch: int
    seeds: int
    compiled: bool
    device: str

    def check(self) -> None:
        """Check that the net fits the images.

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
        """Return the configuration of a life of Forward-Forward, with the given sections added."""
        data = self.data
        network = {"shape": data.shape, "labels": data.labels, "hidden": widths(self.net)[1:], "seed": seed}
        engine = {"device": self.device, "max_batch": self.batch, "compile": self.compiled}
        engine |= sections.get("engine", {})
        return parse({**sections, "network": network, "engine": engine}, name)

    def live(self, life: Life, stream: Stream) -> NDArray[np.bool_]:
        """Run a life on a stream; return (n,), true for each sample predicted right before it was learned."""
        parts = [slice(start, start + self.batch) for start in range(0, len(stream.labels), self.batch)]
        predicted = [life.learn(stream.inputs[part], stream.labels[part]) for part in parts]
        right: NDArray[np.bool_] = np.concatenate(predicted) == stream.labels
        return right


def make_stream(name: str, data: Dataset, seed: int) -> Stream:
    """Order the training images as a stream.

    Parameters
    ----------
    name
        ``shuffled``; ``sorted``: all images of one label before the first of the next; ``drift``: shuffled, and each
        rotated a little further than the last, up to 90 degrees, which is also the rotation of the test images.
    data
        Images.
    seed
        Seed of the order.
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
