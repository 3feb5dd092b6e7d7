"""The processes of a test, all forked: the daemon, the feeders, and one that sends queries."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

from crashing.feeders import EPOCH, SHAPE, Feeder
from crashing.forked import Forked, end_with_parent
from ffstream import Client, failpoints, ports
from ffstream.config import Config, to_toml
from ffstream.daemon.spawn import Spawned
from ffstream.errors import FFStreamError, Refused, Unreachable

START_S = 60.0
STOP_S = 60.0
# Samples in a message, drawn uniformly: single ones, fewer and more than a step takes, and a long one.
MESSAGES = (1, 1, 3, 17, 40, 150)
# Mean seconds between messages of a feeder, and seconds between queries: short enough that some queries share a sweep
# with few samples, where a replay with another number of rows would differ in the last bits.
FEED_S, ASK_S = 0.04, 0.01


class Daemon:
    """One daemon, started and killed repeatedly on one state directory.

    Parameters
    ----------
    config
        Its configuration.
    folder
        Folder for its TOML file and ``daemon.log``, to which every run of the daemon appends.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self.config = config
        self.log = folder / "daemon.log"
        self.starts = 0
        self._path = folder / "daemon.toml"
        self._path.write_text(to_toml(config))
        self._spawned: Spawned | None = None

    @property
    def address(self) -> str:
        """``host:port``, as ``Client`` takes it."""
        return ports.join(self.config.server.host, self.config.server.port)

    @property
    def exit_code(self) -> int | None:
        """Exit code, negative for the signal that ended the daemon; ``None`` while it runs."""
        return self._running.process.returncode

    def start(self, failpoint: str = "") -> None:
        """Start it with ``FFSTREAM_FAILPOINT`` set to ``failpoint``; return before it is ready."""
        self.starts += 1
        process = Forked(self._path, self.log, {**os.environ, failpoints.VARIABLE: failpoint})
        self._spawned = Spawned(process, self.config, self.log)

    def wait_ready(self) -> None:
        """Wait until it is ready; raise FFStreamError if it ends first or does not become ready."""
        self._running.wait_ready()

    def wait_ended(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for its end; return True if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self._running.process.wait(seconds)
        return self.exit_code is not None

    def kill(self) -> None:
        """Send it SIGKILL, if it runs, and wait until it is gone."""
        if self._spawned is not None:
            self._spawned.process.kill()
            self._spawned.process.wait()

    def freeze(self) -> None:
        """Stop all its threads where they are; return when none can send anything more."""
        process = self._running.process
        process.send_signal(signal.SIGSTOP)
        # A thread that waits for the disk (D) stops as soon as the wait is over.
        while any(state not in "TD" for state in _thread_states(process.pid)):
            time.sleep(0.001)

    def stop(self) -> None:
        """Ask it to finish its step, save and exit; raise FFStreamError if it does not exit cleanly."""
        self._running.process.terminate()
        if not self.wait_ended(STOP_S) or self.exit_code != 0:
            raise FFStreamError(f"the daemon did not stop, exit code {self.exit_code}; its log: {self.log}")

    @property
    def _running(self) -> Spawned:
        if self._spawned is None:
            raise RuntimeError("the daemon was not started")
        return self._spawned


def _thread_states(pid: int) -> list[str]:
    """Return the state of each thread of a process, one letter per thread (proc_pid_stat(5))."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return [stat.rpartition(")")[2].split()[0] for stat in stats]


def feed(feeder: Feeder, address: str, ledger: Path, seed: int, finish: Event) -> None:
    """Feed until ``finish`` is set; log the number of acknowledged samples, one line per increase."""
    end_with_parent()
    draws = random.Random(f"{seed} {feeder.name}")
    client = Client(address, feeder=feeder.name, epoch=EPOCH, ack=feeder.ack, timeout_s=START_S)
    first = logged = 0
    with ledger.open("a", buffering=1) as lines:
        while logged < first or not finish.is_set():
            if finish.is_set():
                client.flush()
            else:
                count = draws.choice(MESSAGES)
                client.feed(*feeder.samples(first, count))
                first += count
                finish.wait(draws.expovariate(1 / FEED_S))
            if client.acknowledged > logged:
                logged = client.acknowledged
                lines.write(f"{logged}\n")
    client.close()


def ask(address: str, finish: Event) -> None:
    """Query predictions until ``finish`` is set; this test does not check the answers."""
    end_with_parent()
    draws = np.random.default_rng()
    with Client(address, timeout_s=1) as client:
        while not finish.wait(ASK_S):
            with suppress(Unreachable, Refused):
                client.predict(draws.random((draws.integers(1, 9), *SHAPE), np.float32))
