"""The derived step size over networks of many shapes, beside step sizes set by hand."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ffstream.config import Config, parse
from ffstream.data.datasets import Dataset, jittered
from ffstream.errors import ConfigError
from ffstream.stream.learner import Learner

SIDE = 8
TEST_ROWS, TEST_PART = 1_000, 256
# Standard deviation of a prototype's noise, as a multiple of that of the prototypes.
NOISE = 1.0
HIDDEN_KINDS: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "dense": lambda width, depth: {"hidden": [width] * depth},
    "convolution": lambda width, depth: {
        "layers": [{"kind": "convolution", "units": width, "kernel": 3, "padding": 1}, *_dense(width, depth - 1)]
    },
    "local": lambda width, depth: {
        "layers": [{"kind": "local", "units": width, "kernel": 4, "stride": 2}, *_dense(width, depth - 1)]
    },
}
CODINGS: dict[str, dict[str, Any]] = {
    "disjoint": {},
    "random": {"assemblies": "random"},
    "learned": {"assemblies": "learned"},
    "context": {"coding": "context"},
    "overlay": {"coding": "overlay"},
    "none": {"coding": "none", "negatives": "masks", "readout": "all", "prediction": "readout"},
}
# The values of each axis; the first is what each value of the others is combined with.
AXES: dict[str, tuple[Any, ...]] = {
    "width": (128, 16, 64, 256, 512, 2000),
    "depth": (2, 1, 4),
    "labels": (10, 2, 100, 1000),
    "batch": (16, 1, 64, 512),
    "scale": (1.0, 1e-3, 1e3),
    "coding": tuple(CODINGS),
    "kind": tuple(HIDDEN_KINDS),
}
RATES = (5e-4, 5e-3, 5e-2)


def _dense(width: int, depth: int) -> list[dict[str, Any]]:
    return [{"units": width}] * depth


@dataclass(frozen=True)
class Shape:
    """One network and its stream.

    Attributes
    ----------
    width, depth, coding, kind
        Units of each layer, number of layers, label coding, and kind of the first layer.
    labels, batch, scale
        Number of labels, samples a step, and what inputs are multiplied by.
    """

    width: int
    depth: int
    labels: int
    batch: int
    scale: float
    coding: str
    kind: str

    def config(self, rate: float | Literal["auto"], seed: int) -> Config:
        """Return its configuration, everything else as by default.

        Raises
        ------
        ConfigError
            If there is no such network.
        """
        network = {
            "shape": [SIDE, SIDE],
            "labels": self.labels,
            "seed": seed,
            **HIDDEN_KINDS[self.kind](self.width, self.depth),
            **CODINGS[self.coding],
        }
        engine = {"device": "cpu", "compile": False, "max_batch": self.batch}
        return parse({"network": network, "optimizer": {"rate": rate}, "engine": engine}, "steps")


@dataclass(frozen=True)
class Plan:
    """Settings of the experiment.

    Attributes
    ----------
    shapes
        Networks and streams.
    samples
        Samples of each stream.
    seeds
        Runs of each, with seeds 0, 1, …
    rates
        Step sizes set by hand.
    digits
        What streams of ten labels and of two are made of; the others are made of Gaussian prototypes.
    """

    shapes: Sequence[Shape]
    samples: int
    seeds: int
    rates: Sequence[float]
    digits: Dataset

    @property
    def total(self) -> int:
        """Runs in all."""
        return len(self.shapes) * self.seeds * (1 + len(self.rates))


@dataclass(frozen=True)
class Row:
    """Result of one shape under one rate and seed.

    Attributes
    ----------
    rate
        ``auto`` or a step size set by hand.
    finite
        Whether all weights were finite in the end.
    """

    shape: Shape
    rate: float | Literal["auto"]
    seed: int
    finite: bool
    prequential_accuracy: float
    test_accuracy: float


def draw_shapes(count: int, seed: int = 0) -> list[Shape]:
    """Draw shapes, each value of an axis alike likely, of those that a configuration takes."""
    draws = random.Random(seed)  # noqa: S311  nothing here is secret
    found: list[Shape] = []
    while len(found) < count:
        shape = Shape(**{axis: draws.choice(values) for axis, values in AXES.items()})
        if shape not in found and _exists(shape):
            found.append(shape)
    return found


def vary_shapes() -> list[Shape]:
    """Return the first value of every axis, and each of the others in its place."""
    first = Shape(**{axis: values[0] for axis, values in AXES.items()})
    changed = [Shape(**{**asdict(first), axis: value}) for axis, values in AXES.items() for value in values[1:]]
    return [shape for shape in (first, *changed) if _exists(shape)]


def measure(plan: Plan, ran: Callable[[], object]) -> Iterator[Row]:
    """Run every shape under the derived rate and under those set by hand; ``ran`` is called after each run."""
    for shape, seed in itertools.product(plan.shapes, range(plan.seeds)):
        stream, test = make_stream(shape, plan, seed)
        for rate in ("auto", *plan.rates):
            yield run(shape, rate, seed, stream, test)  # type: ignore[arg-type]  # a literal in a tuple is a str
            ran()


Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


def make_stream(shape: Shape, plan: Plan, seed: int) -> tuple[Samples, Samples]:
    """Make the samples to learn and those of the test, (n, 8, 8) float32 and (n,) int64."""
    draws = np.random.default_rng((seed, shape.labels))
    if shape.labels in (2, 10):
        inputs, labels = jittered(*plan.digits.train, plan.samples, seed)
        learned, tested = (inputs, labels), plan.digits.test
        return _scaled(learned, shape), _scaled(tested, shape)
    prototypes = draws.standard_normal((shape.labels, SIDE, SIDE))

    def draw(count: int) -> Samples:
        labels = draws.integers(shape.labels, size=count)
        noise = NOISE * draws.standard_normal((count, SIDE, SIDE))
        return _scaled((prototypes[labels] + noise, labels), shape)

    return draw(plan.samples), draw(TEST_ROWS)


def _scaled(samples: tuple[NDArray[Any], NDArray[np.int64]], shape: Shape) -> Samples:
    inputs, labels = samples
    return (inputs * shape.scale).astype(np.float32), labels % shape.labels


def run(shape: Shape, rate: float | Literal["auto"], seed: int, stream: Samples, test: Samples) -> Row:
    """Learn one stream once, with naps, and test what was learned."""
    learner, right = Learner(shape.config(rate, seed)), 0
    inputs, labels = stream
    for start in range(0, len(labels), shape.batch):
        part = slice(start, start + shape.batch)
        learner.advance(quiet=False)
        while learner.asleep:
            learner.step([], labels[:0], [])
            learner.advance(quiet=False)
        predicted = learner.step([inputs[part]], labels[part], []).predicted.numpy()
        right += int((predicted == labels[part]).sum())
    inputs, labels = test
    parts = [learner.answer([inputs[start : start + TEST_PART]]) for start in range(0, len(labels), TEST_PART)]
    found = np.concatenate([part.scores.labels().numpy() for part in parts])
    finite = all(map(math.isfinite, learner.weight_norms()))
    return Row(shape, rate, seed, finite, right / len(stream[1]), float((found == labels).mean()))


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return test accuracies in percent, means over seeds, a row a shape; those that fall shortest first."""
    shapes: dict[tuple[Any, ...], dict[Any, list[Mapping[str, Any]]]] = {}
    for row in rows:
        shapes.setdefault(tuple(row["shape"].values()), {}).setdefault(row["rate"], []).append(row)
    lines = []
    for shape, by_rate in shapes.items():
        means = {rate: 100 * float(np.mean([row["test_accuracy"] for row in found])) for rate, found in by_rate.items()}
        best = max((mean for rate, mean in means.items() if rate != "auto"), default=math.nan)
        width, depth, labels, batch, scale, coding, kind = shape
        line = {"shape": f"{coding}, {kind}, {depth} x {width}, {labels} labels, batch {batch}, inputs x {scale:g}"}
        line |= {f"rate {rate}": f"{mean:.1f}" for rate, mean in means.items()}
        line["auto less the best"] = f"{means['auto'] - best:+.1f}"
        line["finite"] = "yes" if all(row["finite"] for row in by_rate["auto"]) else "NO"
        lines.append((means["auto"] - best, line))
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]


def _exists(shape: Shape) -> bool:
    try:
        shape.config("auto", 0)
    except ConfigError:
        return False
    return True
