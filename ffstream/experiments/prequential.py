"""One pass over a stream: each sample is predicted, then learned; Forward-Forward beside backprop."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ffstream.config import parse
from ffstream.data.datasets import Dataset
from ffstream.errors import ConfigError
from ffstream.experiments.images import rotated
from ffstream.experiments.reproduction import mean_and_deviation
from ffstream.measuring.lives import BackpropLife, ForwardLife, Life, accuracy
from ffstream.measuring.nets import widths

STREAMS = ("shuffled", "sorted", "drift")
# Name of a method: its schedule in [phases].
FORWARD = {"naps": "alternating", "together": "together"}
METHODS = (*FORWARD, "backprop")
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
# How far the images of ``drift`` have turned at the end, in degrees.
TURN = 90.0
# Points of a curve.
POINTS = 60


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
class Plan:
    """What is lived through, by whom.

    Attributes
    ----------
    data
        Images.
    net
        Widths by name, 784-512-512.
    batch
        Samples a step.
    seeds
        Lives of each method, with seeds 0, 1, …
    rates
        Step sizes that backprop tries on the first seed of each stream; it keeps the best of them.
    compiled
        Whether the sweep is compiled.
    device
        By name.
    """

    data: Dataset
    net: str
    batch: int
    seeds: int
    rates: Sequence[float]
    compiled: bool
    device: str

    @property
    def total(self) -> int:
        """Lives in all."""
        return len(STREAMS) * (len(METHODS) * self.seeds + len(self.rates) - 1)


@dataclass(frozen=True)
class Row:
    """What one life came to.

    Attributes
    ----------
    rate
        Step size: under Forward-Forward the default one, under backprop the best of those tried on the first seed.
    prequential_accuracy
        Share of all samples of the stream that were predicted right before they were learned.
    test_accuracy
        At the end, of the test images as the stream then is.
    curve
        Prequential accuracy in each part of the stream, in order; its parts are alike long.
    """

    stream: str
    method: str
    seed: int
    rate: float
    prequential_accuracy: float
    test_accuracy: float
    curve: list[float]


def measure(plan: Plan, lived: Callable[[], object]) -> Iterator[Row]:
    """Let every method live through every stream; ``lived`` is called after each life.

    Raises
    ------
    ConfigError
        If the net does not fit the images.
    """
    if widths(plan.net)[0] != math.prod(plan.data.shape):
        raise ConfigError(f"--net {plan.net}: a sample has {math.prod(plan.data.shape)} values")
    for name in STREAMS:
        rate = max(plan.rates)
        for seed in range(plan.seeds):
            stream = make_stream(name, plan.data, seed)
            for method in FORWARD:
                yield live(plan, name, stream, method, seed)
                lived()
            tried = []
            for tried_rate in plan.rates if seed == 0 else [rate]:
                tried.append(live(plan, name, stream, "backprop", seed, tried_rate))
                lived()
            best = max(tried, key=lambda row: row.prequential_accuracy)
            rate = best.rate
            yield best


def live(plan: Plan, name: str, stream: Stream, method: str, seed: int, rate: float = 1e-3) -> Row:
    """Let one method live through a stream once; ``rate`` is backprop's."""
    life: Life
    if method == "backprop":
        device = torch.device(plan.device)
        life = BackpropLife(plan.net, torch.float32, seed, rate, device)
    else:
        network = {"shape": plan.data.shape, "labels": plan.data.labels, "hidden": widths(plan.net)[1:], "seed": seed}
        engine = {"device": plan.device, "max_batch": plan.batch, "compile": plan.compiled}
        config = parse({"network": network, "phases": {"schedule": FORWARD[method]}, "engine": engine}, method)
        life, rate = ForwardLife(config), config.optimizer.rate
    parts = [slice(start, start + plan.batch) for start in range(0, len(stream.labels), plan.batch)]
    predicted = [life.learn(stream.inputs[part], stream.labels[part]) for part in parts]
    right = np.concatenate(predicted) == stream.labels
    curve = [float(part.mean()) for part in np.array_split(right, min(POINTS, len(right)))]
    return Row(name, method, seed, rate, float(right.mean()), accuracy(life, *stream.test), curve)


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


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return means over seeds, in percent, a row a stream and method."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["stream"], row["method"]), []).append(row)
    return [
        {
            "stream": stream,
            "method": method,
            "rate": f"{group[0]['rate']:g}",
            "prequential accuracy, %": _percent([row["prequential_accuracy"] for row in group]),
            "test accuracy, %": _percent([row["test_accuracy"] for row in group]),
            "seeds": str(len(group)),
        }
        for (stream, method), group in groups.items()
    ]


def _percent(shares: Sequence[float]) -> str:
    percent = [100 * share for share in shares]
    return mean_and_deviation(statistics.fmean(percent), statistics.stdev(percent) if len(percent) > 1 else None)
