"""Samples per second through the daemon's acknowledged socket, by the same engine in process, and by its learner only.

Two daemons are fed in turns, one that writes every sample to disk and one without a journal; likewise two engines.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ffstream import Client
from ffstream.bench.alone import Alone
from ffstream.bench.load import samples
from ffstream.config import Config, parse
from ffstream.daemon.spawn import Spawned, free_port, spawn
from ffstream.measuring.lives import ForwardLife

SECONDS = 3.0
ROUNDS = 3
# Samples that the client sends at once when it is given them one by one.
HELD = 256


# Guarantee of an acknowledgement; ``memory`` is a daemon without a journal that acknowledges learned samples.
Ack = Literal["memory", "received", "durable", "learned"]


@dataclass(frozen=True)
class Way:
    """One way of feeding: ``message_samples`` per message, or one by one to a client that sends ``held`` at once."""

    message_samples: int
    dtype: str
    held: int = 1
    ack: Ack = "durable"

    @property
    def journal(self) -> bool:
        """True if the daemon keeps a journal."""
        return self.ack != "memory"


SIZES = ((1, 1), (1, HELD), (16, 1), (64, 1), (256, 1))


def ways(dtypes: Sequence[str], acks: Sequence[Ack]) -> tuple[Way, ...]:
    """Return every way of feeding with the given input types and acknowledgements."""
    return tuple(Way(size, dtype, held, ack) for dtype in dtypes for size, held in SIZES for ack in acks)


@dataclass(frozen=True)
class Row:
    """Result of one way of feeding; ``samples_per_second`` counts new samples, learned and acknowledged.

    ``in_process`` is the rate of the same engine without sockets, with a journal if the daemon has one; ``learner`` is
    the rate of its learner only, without journal, inbox and marks.
    """

    message_samples: int
    held: int
    dtype: str
    ack: str
    samples_per_second: float
    low: float
    high: float
    in_process: float
    fraction_of_in_process: float
    learner: float
    fraction_of_learner: float
    fraction_of_memory: float | None


def configuration(folder: Path, net: tuple[int, ...], *, journal: bool = True) -> Config:
    """Return the default configuration for a net, on a free port, with its state in ``folder``."""
    inputs, *hidden = net
    return parse(
        {
            "network": {"shape": [inputs], "hidden": hidden},
            "server": {"port": free_port()},
            "state": {"directory": str(folder / f"state-{journal}"), "journal": journal},
        },
        "bench",
    )


def turns(ways: Sequence[Way]) -> int:
    """Return the number of turns that measuring some ways takes."""
    return ROUNDS * (1 + len({way.journal for way in ways}) + len(ways))


def measure(
    folder: Path, net: tuple[int, ...], ways: Sequence[Way], seconds: float, advance: Callable[[], object]
) -> list[Row]:
    """Feed a daemon in each way, the same engine in process, and its learner only, in turns of ``seconds``.

    ``advance`` is called after each turn.
    """
    kinds = sorted({way.journal for way in ways})
    configs = {journal: configuration(folder, net, journal=journal) for journal in kinds}
    life = ForwardLife(configs[kinds[0]])
    rates: dict[Way, list[float]] = {way: [] for way in ways}
    learner: list[float] = []
    alone: dict[bool, list[float]] = {journal: [] for journal in kinds}
    with contextlib.ExitStack() as ending:
        engines = {
            journal: ending.enter_context(
                contextlib.closing(Alone(configuration(folder / "alone", net, journal=journal)))
            )
            for journal in kinds
        }
        daemons = {journal: ending.enter_context(spawn(config, folder)) for journal, config in configs.items()}
        for daemon in daemons.values():
            daemon.wait_compiled()
        for _ in range(ROUNDS):
            learner.append(_learn(life, configs[kinds[0]], seconds))
            advance()
            for journal, engine in engines.items():
                alone[journal].append(engine.rate(seconds))
                advance()
            for way in ways:
                rates[way].append(_through(daemons[way.journal], way, net[0], seconds))
                advance()
        for daemon in daemons.values():
            daemon.stop()
    references = {journal: float(np.median(found)) for journal, found in alone.items()}
    return [_row(way, rates, references[way.journal], float(np.median(learner))) for way in ways]


def _row(way: Way, rates: Mapping[Way, list[float]], in_process: float, learner: float) -> Row:
    found = rates[way]
    rate = float(np.median(found))
    # The ratio of turns of the same round, so that a slow minute affects both.
    beside = rates.get(replace(way, ack="memory"))
    of_memory = None if beside is None else float(np.median(np.divide(found, beside)))
    return Row(
        way.message_samples,
        way.held,
        way.dtype,
        way.ack,
        rate,
        min(found),
        max(found),
        in_process,
        rate / in_process,
        learner,
        rate / learner,
        of_memory,
    )


def _learn(life: ForwardLife, config: Config, seconds: float) -> float:
    batch = config.engine.max_batch
    inputs, labels = samples(batch, config.network.width, "uint8")
    learned, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        life.learn(inputs, labels)
        learned += batch
    return learned / spent


def _through(daemon: Spawned, way: Way, width: int, seconds: float) -> float:
    inputs, labels = samples(4_096, width, way.dtype)
    ack: Literal["received", "durable", "learned"] = "learned" if way.ack == "memory" else way.ack
    with Client(daemon.address, ack=ack, hold=way.held) as client:
        started = time.perf_counter()
        fed = 0
        while time.perf_counter() - started < seconds:
            start = fed % len(labels)
            part = slice(start, start + way.message_samples)
            client.feed(inputs[part], labels[part])
            fed += way.message_samples
        client.flush()
        while client.status()["samples_waiting"]:
            time.sleep(0.002)
        return client.acknowledged / (time.perf_counter() - started)
