"""One pass over a stream: each sample is predicted, then learned; Forward-Forward beside backprop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from ffstream.experiments.one_pass import STREAMS, OnePass, Stream, make_stream
from ffstream.measuring.estimate import percent
from ffstream.measuring.lives import BackpropLife, ForwardLife, Life, accuracy

# Name of a method: its schedule in [phases].
FORWARD = {"naps": "alternating", "together": "together"}
METHODS = (*FORWARD, "backprop")
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
# Points of a curve.
POINTS = 60


@dataclass(frozen=True)
class Plan(OnePass):
    """What is lived through, by whom.

    Attributes
    ----------
    rates
        Step sizes that backprop tries on the first seed of each stream; it keeps the best of them.
    """

    rates: Sequence[float]

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
    rate: float | Literal["auto"]
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
    """Let one method live through a stream once; ``rate`` is backprop's."""
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
    """Return means over seeds, in percent, a row a stream and method."""
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
