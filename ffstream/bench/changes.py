"""Query latency through phase changes: a daemon under saturated learning repeatedly falls asleep and wakes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffstream import Client
from ffstream.bench.latency import QUERIES_PER_SECOND, SETTLE_S, arrivals, quantile, sweep_ms
from ffstream.bench.load import ask, feeding
from ffstream.bench.stream import configuration
from ffstream.config import PhasesConfig
from ffstream.daemon.spawn import spawn

# A query that was due within half of this time before or after a phase change counts as near it.
NEAR_S = 0.04


@dataclass(frozen=True)
class Row:
    """Latency of queries due near a phase change, or of all others; ``sweep_p99_ms`` is of the daemon's sweeps.

    A quantile is ``None`` if there are too few queries for it.
    """

    when: str
    queries: int
    p50_ms: float | None
    p99_ms: float | None
    longest_ms: float | None
    sweep_p99_ms: float
    lost: int


@dataclass(frozen=True)
class Found:
    """Result of the measurement of phase changes.

    Attributes
    ----------
    rows
        Results for queries near a change to sleep, near a change to wake, and for all others.
    queries
        (n, 2): time at which each query was due, in seconds from the start, and milliseconds until its answer.
    changes
        Time at which each phase began, on the same clock, and its name.
    """

    rows: list[Row]
    queries: NDArray[np.float64]
    changes: list[tuple[float, str]]


def queries(seconds: float) -> int:
    """Return the number of queries that are due in some seconds."""
    return round(QUERIES_PER_SECOND * seconds)


def measure(
    folder: Path, net: tuple[int, ...], steps: int, seconds: float, advance: Callable[[], object] = lambda: None
) -> Found:
    """Query a constantly fed daemon, whose phases last ``steps`` each, for ``seconds``.

    ``advance`` is called after each query.
    """
    config = configuration(folder, net)
    phases = PhasesConfig(wake_steps=steps, sleep_steps=steps, longest_sleep=max(steps, config.phases.longest_sleep))
    config = config.model_copy(update={"phases": phases})
    due = arrivals(QUERIES_PER_SECOND, seconds)
    with spawn(config, folder) as daemon:
        daemon.wait_compiled()
        with feeding(daemon.address, net[0], float("inf")):
            time.sleep(SETTLE_S)
            with Client(daemon.address) as client:
                begun = _Begun(client)
                asked = ask(daemon.address, 1, net[0], due, advance)
                changes = begun.stop()
                sweep_p99 = sweep_ms(client)[1]
        daemon.stop()
    began = [(when - asked.began, phase) for when, phase in changes]
    return Found(_rows(due, asked.latencies, began, sweep_p99), np.stack([due, asked.latencies * 1e3], 1), began)


class _Begun:
    """Recorder of the times at which phases begin, in its own thread."""

    def __init__(self, client: Client) -> None:
        self._changes: list[tuple[float, str]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, args=(client,))
        self._thread.start()

    def stop(self) -> list[tuple[float, str]]:
        self._stopping.set()
        self._thread.join()
        return self._changes

    def _listen(self, client: Client) -> None:
        with client.events("phase", timeout_s=0.2) as events:
            # A timeout without events ends the iteration, but not the recording: a phase may last longer.
            while not self._stopping.is_set():
                for event in events:
                    if self._stopping.is_set():
                        return
                    self._changes.append((event.time, event.fields["phase"]))


def _rows(
    due: NDArray[np.float64], latencies: NDArray[np.float64], changes: list[tuple[float, str]], sweep_p99: float
) -> list[Row]:
    near = {
        phase: np.any([np.abs(due - when) < NEAR_S / 2 for when, which in changes if which == phase] or [due < 0], 0)
        for phase in ("sleep", "wake")
    }
    groups = {"falling asleep": near["sleep"], "waking": near["wake"], "between": ~near["sleep"] & ~near["wake"]}
    return [_row(when, latencies[chosen] * 1e3, sweep_p99) for when, chosen in groups.items() if chosen.any()]


def _row(when: str, waited: NDArray[Any], sweep_p99: float) -> Row:
    answered = waited[~np.isnan(waited)]
    p50, p99 = quantile(answered, 0.5), quantile(answered, 0.99)
    longest = float(answered.max()) if len(answered) else None
    return Row(when, len(waited), p50, p99, longest, sweep_p99, len(waited) - len(answered))
