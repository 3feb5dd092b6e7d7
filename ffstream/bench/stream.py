"""Samples a second through the daemon's acknowledged socket, beside the same learner in process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ffstream import Client
from ffstream.bench.load import samples
from ffstream.bench.optimizers import ForwardLife
from ffstream.config import Config, parse
from ffstream.daemon.spawn import Spawned, free_port, spawn

SECONDS = 3.0
ROUNDS = 3
# What the client sends at once where samples are given to it one by one.
HELD = 256


@dataclass(frozen=True)
class Way:
    """How samples are fed: so many a message, or one by one into a client that sends ``held`` at once."""

    message_samples: int
    dtype: str
    held: int = 1


WAYS = tuple(
    way
    for dtype in ("uint8", "float32")
    for way in (Way(1, dtype), Way(1, dtype, HELD), Way(16, dtype), Way(64, dtype), Way(256, dtype))
)


@dataclass(frozen=True)
class Row:
    """One way of feeding; ``samples_per_second`` are new samples, acknowledged when learned."""

    message_samples: int
    held: int
    dtype: str
    ack: str
    samples_per_second: float
    low: float
    high: float
    in_process: float
    fraction_of_in_process: float


def configuration(folder: Path, net: tuple[int, ...]) -> Config:
    """Return the defaults for a net, on a free port, keeping its state in ``folder``."""
    inputs, *hidden = net
    return parse(
        {
            "network": {"shape": [inputs], "hidden": hidden},
            "server": {"port": free_port()},
            "state": {"directory": str(folder / "state")},
        },
        "bench",
    )


def measure(
    folder: Path, net: tuple[int, ...], ways: tuple[Way, ...], seconds: float, advance: Callable[[], object]
) -> list[Row]:
    """Feed a daemon in each way, and the same learner in process, in turns of so many seconds.

    ``advance`` is called after each turn.
    """
    config = configuration(folder, net)
    life = ForwardLife(config)
    rates: dict[Way, list[float]] = {way: [] for way in ways}
    alone: list[float] = []
    with spawn(config, folder) as daemon:
        for _ in range(ROUNDS):
            alone.append(_in_process(life, config, seconds))
            advance()
            for way in ways:
                rates[way].append(_through(daemon, way, net[0], seconds))
                advance()
        daemon.stop()
    reference = float(np.median(alone))
    return [_row(way, found, reference) for way, found in rates.items()]


def _row(way: Way, found: list[float], reference: float) -> Row:
    rate = float(np.median(found))
    return Row(
        way.message_samples, way.held, way.dtype, "learned", rate, min(found), max(found), reference, rate / reference
    )


def _in_process(life: ForwardLife, config: Config, seconds: float) -> float:
    batch = config.engine.max_batch
    inputs, labels = samples(batch, config.network.width, "uint8")
    learned, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        life.learn(inputs, labels)
        learned += batch
    return learned / spent


def _through(daemon: Spawned, way: Way, width: int, seconds: float) -> float:
    inputs, labels = samples(4_096, width, way.dtype)
    with Client(daemon.address, hold=way.held) as client:
        started = time.perf_counter()
        fed = 0
        while time.perf_counter() - started < seconds:
            start = fed % len(labels)
            part = slice(start, start + way.message_samples)
            client.feed(inputs[part], labels[part])
            fed += way.message_samples
        client.flush()
        return client.acknowledged / (time.perf_counter() - started)
