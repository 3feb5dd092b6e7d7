"""The derived step size over networks of many shapes, beside step sizes set by hand.

Nothing is scored on test images, so that the constants of ``ffstream.ff.stepsize`` can be chosen by what is found here.
"""

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
from ffstream.measuring.estimate import Estimate
from ffstream.stream.learner import Learner

SIDE = 8
# Inputs that no stream holds: so many draws, or a fifth of the training images.
HELD_OUT, HELD_OUT_PART, SCORED_AT_ONCE = 1_000, 5, 256
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
Rate = float | Literal["auto"]
# Step sizes set by hand; and multiples of the derived one, which show whether it could be another.
RATES = (5e-4, 5e-3, 5e-2)
MULTIPLES = (0.5, 2.0)


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

    def config(self, rate: Rate, seed: int) -> Config:
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
    multiples
        Multiples of the derived step size.
    digits
        Images whose training part gives the streams of two and of ten labels. Others are of Gaussian prototypes.
    """

    shapes: Sequence[Shape]
    samples: int
    seeds: int
    rates: Sequence[float]
    multiples: Sequence[float]
    digits: Dataset

    @property
    def steps(self) -> list[tuple[Rate, float]]:
        """Rates, each with the multiple of it that is taken."""
        derived: list[tuple[Rate, float]] = [("auto", multiple) for multiple in (1.0, *self.multiples)]
        return [*derived, *((rate, 1.0) for rate in self.rates)]

    @property
    def total(self) -> int:
        """Runs in all."""
        return len(self.shapes) * self.seeds * len(self.steps)


@dataclass(frozen=True)
class Row:
    """Result of one shape under one step size and seed.

    Attributes
    ----------
    rate
        ``auto`` or a step size set by hand.
    multiple
        Multiple of it that was taken.
    finite
        Whether all weights were finite in the end.
    held_out_accuracy
        On inputs that were not learned.
    """

    shape: Shape
    rate: Rate
    multiple: float
    seed: int
    finite: bool
    prequential_accuracy: float
    held_out_accuracy: float


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
    """Run every shape under the derived step size and under the others; ``ran`` is called after each run."""
    for shape, seed in itertools.product(plan.shapes, range(plan.seeds)):
        stream, held_out = make_stream(shape, plan, seed)
        for rate, multiple in plan.steps:
            yield run(shape, rate, multiple, seed, stream, held_out)
            ran()


Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


def make_stream(shape: Shape, plan: Plan, seed: int) -> tuple[Samples, Samples]:
    """Make the samples to learn and those held out, (n, 8, 8) float32 and (n,) int64."""
    draws = np.random.default_rng((seed, shape.labels))
    if shape.labels in (2, 10):
        images, digits = plan.digits.train
        order = draws.permutation(len(digits))
        held_out, learned = np.split(order, [len(order) // HELD_OUT_PART])
        stream = jittered(images[learned], digits[learned], plan.samples, seed)
        return _scaled(stream, shape), _scaled((images[held_out], digits[held_out]), shape)
    prototypes = draws.standard_normal((shape.labels, SIDE, SIDE))

    def draw(count: int) -> Samples:
        labels = draws.integers(shape.labels, size=count)
        noise = NOISE * draws.standard_normal((count, SIDE, SIDE))
        return _scaled((prototypes[labels] + noise, labels), shape)

    return draw(plan.samples), draw(HELD_OUT)


def _scaled(samples: tuple[NDArray[Any], NDArray[np.int64]], shape: Shape) -> Samples:
    inputs, labels = samples
    return (inputs * shape.scale).astype(np.float32), labels % shape.labels


def run(shape: Shape, rate: Rate, multiple: float, seed: int, stream: Samples, held_out: Samples) -> Row:
    """Learn one stream once, with naps, and score what was learned on what was held out."""
    learner, right = Learner(shape.config(rate, seed)), 0
    learner.network.anneal(multiple)
    inputs, labels = stream
    for start in range(0, len(labels), shape.batch):
        part = slice(start, start + shape.batch)
        learner.advance(quiet=False)
        while learner.asleep:
            learner.step([], labels[:0], [])
            learner.advance(quiet=False)
        predicted = learner.step([inputs[part]], labels[part], []).predicted.numpy()
        right += int((predicted == labels[part]).sum())
    inputs, labels = held_out
    starts = range(0, len(labels), SCORED_AT_ONCE)
    parts = [learner.answer([inputs[start : start + SCORED_AT_ONCE]]) for start in starts]
    found = np.concatenate([part.scores.labels().numpy() for part in parts])
    finite = all(map(math.isfinite, learner.weight_norms()))
    return Row(shape, rate, multiple, seed, finite, right / len(stream[1]), float((found == labels).mean()))


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return accuracies in percent, means over seeds, a row a shape; those that fall shortest of a set rate first."""
    shapes: dict[tuple[Any, ...], dict[tuple[Any, float], list[Mapping[str, Any]]]] = {}
    for row in rows:
        by_step = shapes.setdefault(tuple(row["shape"].values()), {})
        by_step.setdefault((row["rate"], row["multiple"]), []).append(row)
    lines = []
    for shape, by_step in shapes.items():
        found = {step: np.array([row["held_out_accuracy"] for row in runs]) for step, runs in by_step.items()}
        set_by_hand = [step for step in found if step[0] != "auto"]
        best = max(set_by_hand, key=lambda step: found[step].mean())
        width, depth, labels, batch, scale, coding, kind = shape
        line = {"shape": f"{coding}, {kind}, {depth} x {width}, {labels} labels, batch {batch}, inputs x {scale:g}"}
        line |= {_heading(*step): f"{100 * accuracies.mean():.1f}" for step, accuracies in found.items()}
        gap = Estimate.of(found["auto", 1.0] - found[best], 100)
        line["auto less the best rate"] = gap.with_interval(1, signed=True)
        line["finite"] = "yes" if all(row["finite"] for row in by_step["auto", 1.0]) else "NO"
        lines.append((gap.mean, line))
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]


def _heading(rate: Rate, multiple: float) -> str:
    return f"rate {rate}" + (f" x {multiple:g}" if multiple != 1 else "")


def _exists(shape: Shape) -> bool:
    try:
        shape.config("auto", 0)
    except ConfigError:
        return False
    return True
