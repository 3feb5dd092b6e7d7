"""Time that a killed daemon needs to predict again, and to catch up with its journal."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ffstream import Client
from ffstream.bench.load import samples
from ffstream.bench.stream import configuration
from ffstream.config import Config
from ffstream.daemon.spawn import Spawned, spawn

MESSAGE_SAMPLES = 64


@dataclass(frozen=True)
class Row:
    """A restart after a kill.

    Attributes
    ----------
    samples
        Samples in the journal after the newest checkpoint.
    start_s
        Seconds from the start of the process to the first answer, loading included.
    ready_s
        Seconds from then until the loop was compiled, the journal replayed, and samples accepted again.
    answered_meanwhile
        Queries answered in between, marked as catching up.
    longest_wait_ms
        Longest wait for one of these answers.
    same
        True if the answers after the restart equal those before the kill, bit for bit.
    """

    samples: int
    start_s: float
    ready_s: float
    answered_meanwhile: int
    longest_wait_ms: float
    same: bool


def measure(
    folder: Path, net: tuple[int, ...], count: int, advance: Callable[[int], object], killed: Callable[[], object]
) -> Row:
    """Feed ``count`` samples, kill the daemon, and restart it.

    ``advance`` is called with the number of samples fed, and ``killed`` when the daemon is dead.
    """
    base = configuration(folder, net)
    # No checkpoint except the requested one.
    config = base.model_copy(update={"state": base.state.model_copy(update={"checkpoint_s": 1e6})})
    inputs, labels = samples(4_096, net[0], "uint8")
    with spawn(config, folder) as daemon, Client(daemon.address, ack="learned") as client:
        daemon.wait_compiled()
        client.feed(inputs[:MESSAGE_SAMPLES], labels[:MESSAGE_SAMPLES])
        client.flush()
        client.control("checkpoint")
        for fed in range(0, count, MESSAGE_SAMPLES):
            part = slice(fed % len(labels), fed % len(labels) + min(MESSAGE_SAMPLES, count - fed))
            client.feed(inputs[part], labels[part])
            advance(MESSAGE_SAMPLES)
        client.flush()
        # When this command is answered, it is on disk, and so is every step before it.
        client.control("hold")
        before = client.predict(inputs[:100]).goodness.tobytes()
        daemon.process.kill()
        daemon.process.wait()
    killed()
    started = time.monotonic()
    with spawn(config, folder, wait=False) as daemon:
        first, waits, ready = _ask_until_ready(daemon, config, started)
        with Client(daemon.address) as client:
            after = client.predict(inputs[:100]).goodness.tobytes()
        daemon.stop()
    return Row(count, first - started, ready - first, len(waits), max(waits, default=0.0) * 1e3, before == after)


def _ask_until_ready(daemon: Spawned, config: Config, started: float) -> tuple[float, list[float], float]:
    """Send queries one by one; return the time of the first answer, the waits, and the time the daemon was ready."""
    one, _ = samples(1, config.network.width, "uint8")
    first, waits = started, []
    ready = threading.Thread(target=daemon.wait_ready)
    ready.start()
    with Client(daemon.address, timeout_s=120) as client:
        client.predict(one)
        first = time.monotonic()
        while True:
            asked = time.monotonic()
            if not client.predict(one).catching_up:
                break
            waits.append(time.monotonic() - asked)
    ready.join()
    return first, waits, time.monotonic()
