"""Comparison of update rules: accuracy after a stream, against samples per second.

Each contender lives through the same stream once (or as many times as requested): every sample is predicted, then
learned, and the network naps after every few wake steps. Backprop with Adam learns the same batches.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ffstream.config import NetworkConfig, parse
from ffstream.data.datasets import Dataset
from ffstream.measuring.lives import BackpropLife, ForwardLife, Life, accuracy

# Batches that one contender learns before the next contender's turn.
TURN = 64
BACKPROP_RATE = 1e-3
# Step sizes that did well in one pass over MNIST; momentum has that of in_place.
RATES = {"in_place": 2e-3, "unit": 2e-4, "factored": 2e-4, "momentum": 2e-3, "adam": 3e-4}


@dataclass(frozen=True)
class Contender:
    """An update rule in one precision, or backprop."""

    optimizer: str
    precision: str
    rounding: str = "nearest"

    @property
    def name(self) -> str:
        """Name of the contender in messages."""
        rounding = "" if self.rounding == "nearest" else f", {self.rounding}"
        return f"{self.optimizer}, {self.precision}{rounding}"


CONTENDERS = (
    Contender("in_place", "float32"),
    Contender("in_place", "bfloat16"),
    Contender("in_place", "bfloat16", "stochastic"),
    Contender("in_place", "bfloat16", "master"),
    Contender("unit", "float32"),
    Contender("factored", "float32"),
    Contender("momentum", "float32"),
    Contender("momentum", "bfloat16"),
    Contender("adam", "float32"),
    Contender("adam", "bfloat16"),
    Contender("backprop", "float32"),
    Contender("backprop", "bfloat16"),
)


@dataclass(frozen=True)
class Plan:
    """Settings of a run: samples per batch, passes, and a factor on every contender's best step size."""

    batch: int
    passes: int
    rate_factor: float


@dataclass(frozen=True)
class Row:
    """Result of one contender with one seed.

    Attributes
    ----------
    prequential_accuracy
        Accuracy in the first pass, with each sample predicted before it was learned.
    test_accuracy
        Accuracy on the test images at the end.
    samples_per_second
        New samples learned per second; with naps each is learned about twice.
    """

    optimizer: str
    precision: str
    rounding: str
    rate: float
    seed: int
    passes: int
    prequential_accuracy: float
    test_accuracy: float
    samples_per_second: float


def compete(
    contenders: Sequence[Contender], data: Dataset, plan: Plan, seed: int, advance: Callable[[int], object]
) -> list[Row]:
    """Train contenders on the same stream, side by side.

    Parameters
    ----------
    contenders
        Contenders to train.
    data
        Images as bytes.
    plan
        Batch, passes and step sizes.
    seed
        Seed of the weights and of the order.
    advance
        Called after each turn with the number of batches that every contender learned in it.
    """
    rates = [rate_of(contender) * plan.rate_factor for contender in contenders]
    lives = [_life(contender, rate, data, plan, seed) for contender, rate in zip(contenders, rates, strict=True)]
    right: list[list[NDArray[np.bool_]]] = [[] for _ in lives]
    seconds = [0.0] * len(lives)
    stream = _batches(data, plan, seed)
    while turn := list(itertools.islice(stream, TURN)):
        for who, life in enumerate(lives):
            started = time.perf_counter()
            predicted = [life.learn(*batch) for batch in turn]
            seconds[who] += time.perf_counter() - started
            right[who] += [found == labels for found, (_, labels) in zip(predicted, turn, strict=True)]
        advance(len(turn))
    samples = len(data.train[1])
    return [
        Row(
            contender.optimizer,
            contender.precision,
            contender.rounding,
            rate,
            seed,
            plan.passes,
            prequential_accuracy=float(np.concatenate(right[who])[:samples].mean()),
            test_accuracy=accuracy(lives[who], *data.test),
            samples_per_second=samples * plan.passes / seconds[who],
        )
        for who, (contender, rate) in enumerate(zip(contenders, rates, strict=True))
    ]


def means(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Average rows over seeds, contender by contender."""
    keys = ("optimizer", "precision", "rounding", "rate", "passes")
    figures = ("prequential_accuracy", "test_accuracy", "samples_per_second")
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        dict(zip(keys, who, strict=True))
        | {"seeds": len(group)}
        | {key: statistics.fmean(row[key] for row in group) for key in figures}
        for who, group in groups.items()
    ]


def rate_of(contender: Contender) -> float:
    """Return the best known step size of a contender."""
    return BACKPROP_RATE if contender.optimizer == "backprop" else RATES[contender.optimizer]


def _life(contender: Contender, rate: float, data: Dataset, plan: Plan, seed: int) -> Life:
    if contender.optimizer == "backprop":
        hidden = "-".join(map(str, NetworkConfig().hidden))
        return BackpropLife(f"{math.prod(data.shape)}-{hidden}", getattr(torch, contender.precision), seed, rate)
    network = {"shape": data.shape, "labels": data.labels, "precision": contender.precision, "seed": seed}
    optimizer = {"rule": contender.optimizer, "rounding": contender.rounding, "rate": rate}
    engine = {"device": "cpu", "max_batch": plan.batch}
    return ForwardLife(parse({"network": network, "optimizer": optimizer, "engine": engine}, contender.name))


def _batches(data: Dataset, plan: Plan, seed: int) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    inputs, labels = data.train
    random = np.random.default_rng(seed)
    for _ in range(plan.passes):
        order = random.permutation(len(labels))
        for start in range(0, len(order), plan.batch):
            part = order[start : start + plan.batch]
            yield inputs[part], labels[part]
