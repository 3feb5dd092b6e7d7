"""Prequential accuracy in one pass over a stream: Forward-Forward compared with backprop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from ffstream.experiments.one_pass import STREAMS, OnePass, Stream, make_stream
from ffstream.measuring.estimate import percent
from ffstream.measuring.lives import BackpropLife, ForwardLife, Life, accuracy

# Schedule in [phases], by name of the method.
FORWARD = {"naps": "alternating", "together": "together"}
METHODS = (*FORWARD, "backprop")
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
# Number of points of a curve.
POINTS = 60


@dataclass(frozen=True)
class Plan(OnePass):
    """Settings of the experiment.

    Attributes
    ----------
    rates
        Step sizes that backprop tries with the first seed of each stream; the other seeds use the best one.
    """

    rates: Sequence[float]

    @property
    def total(self) -> int:
        """Total number of lives."""
        return len(STREAMS) * (len(METHODS) * self.seeds + len(self.rates) - 1)


@dataclass(frozen=True)
class Row:
    """Result of one life.

    Attributes
    ----------
    rate
        Step size: the default for Forward-Forward, the best of those tried with the first seed for backprop.
    prequential_accuracy
        Share of all samples of the stream that were predicted right before they were learned.
    test_accuracy
        Accuracy at the end, on test images transformed like the end of the stream.
    curve
        Prequential accuracy in consecutive parts of the stream, of equal length.
    """

    stream: str
    method: str
    seed: int
    rate: float | Literal["auto"]
    prequential_accuracy: float
    test_accuracy: float
    curve: list[float]


def measure(plan: Plan, lived: Callable[[], object]) -> Iterator[Row]:
    """Run every method on every stream; ``lived`` is called after each life.

    Raises
    ------
    ConfigError
        If the net does not fit the images.
    """
    plan.check()
    for name in STREAMS:
        rate = max(plan.rates)
        for seed in range(plan.seeds):
            stream = make_stream(name, plan.data, seed)
            for method in FORWARD:
                yield live(plan, name, stream, method, seed)
                lived()
            tried = []
            tried_rates = plan.rates if seed == 0 else [rate]
            for tried_rate in tried_rates:
                tried.append(live(plan, name, stream, "backprop", seed, tried_rate))
                lived()
            best = max(tried, key=lambda row: row.prequential_accuracy)
            rate = tried_rates[tried.index(best)]
            yield best


def live(plan: Plan, name: str, stream: Stream, method: str, seed: int, rate: float = 1e-3) -> Row:
    """Run one method on a stream once; ``rate`` is the step size of backprop."""
    life: Life
    taken: float | Literal["auto"] = rate
    if method == "backprop":
        life = BackpropLife(plan.net, torch.float32, seed, rate, torch.device(plan.device))
    else:
        config = plan.config(method, seed, {"phases": {"schedule": FORWARD[method]}})
        life, taken = ForwardLife(config), config.optimizer.rate
    right = plan.live(life, stream)
    curve = [float(part.mean()) for part in np.array_split(right, min(POINTS, len(right)))]
    return Row(name, method, seed, taken, float(right.mean()), accuracy(life, *stream.test), curve)


def table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return means over seeds, in percent, one row per stream and method."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["stream"], row["method"]), []).append(row)
    return [
        {
            "stream": stream,
            "method": method,
            "rate": str(group[0]["rate"]),
            "prequential accuracy, %": percent([row["prequential_accuracy"] for row in group]),
            "test accuracy, %": percent([row["test_accuracy"] for row in group]),
            "seeds": str(len(group)),
        }
        for (stream, method), group in groups.items()
    ]
