"""Query latency over the real sockets: idle, at half load, and while learning is saturated.

The load generator is open-loop: queries are due at times drawn beforehand, and the latency of an answer counts from the
time at which its query was due, not from when a busy client sent it. A generator that waits for each answer before it
sends the next query omits exactly the queries that would have waited longest ("coordinated omission").
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ffstream import Client
from ffstream.bench.load import PATIENCE_S, ask, feeding
from ffstream.bench.stream import configuration
from ffstream.daemon.spawn import Spawned, spawn

LOADS = ("idle", "half", "saturated")
CLIENTS = (1, 8, 64)
# A client sends one query at a time: at a higher rate its queries would wait for each other, not for the daemon.
CLIENT_QUERIES_PER_SECOND = 25.0
QUERIES_PER_SECOND = 200.0
SETTLE_S = 1.0


@dataclass(frozen=True)
class Row:
    """Result for one load and number of clients; sweeps are the daemon's last ones, ``lost`` counts unanswered queries.

    A quantile is ``None`` if there are too few queries for it.
    """

    load: str
    clients: int
    queries: int
    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    sweep_p50_ms: float
    sweep_p99_ms: float
    samples_per_second: float
    lost: int


def measure(folder: Path, net: tuple[int, ...], seconds: float) -> Iterator[Row]:
    """Measure every load and number of clients for ``seconds`` each."""
    with spawn(configuration(folder, net), folder) as daemon:
        daemon.wait_compiled()
        saturated = 0.0
        for load in reversed(LOADS):
            rate = {"saturated": float("inf"), "half": saturated / 2, "idle": 0.0}[load]
            for clients in CLIENTS:
                with feeding(daemon.address, net[0], rate):
                    row = _measure(daemon, load, clients, net[0], seconds)
                if load == "saturated":
                    saturated = max(saturated, row.samples_per_second)
                yield row
        daemon.stop()


def _measure(daemon: Spawned, load: str, clients: int, width: int, seconds: float) -> Row:
    due = arrivals(min(clients * CLIENT_QUERIES_PER_SECOND, QUERIES_PER_SECOND), seconds)
    with Client(daemon.address) as client:
        time.sleep(SETTLE_S)
        before, started = client.status()["samples_learned"], time.monotonic()
        latencies = ask(daemon.address, clients, width, due).latencies
        learned = (client.status()["samples_learned"] - before) / (time.monotonic() - started)
        sweep = sweep_ms(client)
    answered = latencies[~np.isnan(latencies)] * 1e3
    p50, p99, p999 = (quantile(answered, share) for share in (0.5, 0.99, 0.999))
    lost = len(due) - len(answered)
    return Row(load, clients, len(due), p50, p99, p999, sweep[0], sweep[1], learned, lost)


def quantile(values: NDArray[np.float64], share: float) -> float | None:
    """Return a quantile of values (n,); ``None`` if less than one of them is expected beyond it.

    Examples
    --------
    >>> quantile(np.arange(101.0), 0.99), quantile(np.arange(99.0), 0.99)
    (99.0, None)
    """
    # As a float, 1 - 0.99 is slightly more than a hundredth.
    return float(np.quantile(values, share)) if len(values) * (1 - share) > 1 - 1e-9 else None


def arrivals(rate: float, seconds: float) -> NDArray[np.float64]:
    """Draw the times at which queries are due, in seconds, from a Poisson process."""
    due: NDArray[np.float64] = np.random.default_rng(0).exponential(1 / rate, round(seconds * rate)).cumsum()
    return due


def sweep_ms(client: Client) -> list[float]:
    """Return the median and 99th percentile of the daemon's last sweeps, in milliseconds."""
    with client.events("score", timeout_s=PATIENCE_S) as events:
        for event in events:
            if event.fields["sweep_ms"]:
                found: list[float] = event.fields["sweep_ms"]
                return found
    return [float("nan")] * 2
