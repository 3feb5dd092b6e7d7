"""The processes of a test: the daemon, the feeders, and one that asks.

All are forked from a server that has loaded torch already, so that a daemon starts within a fraction of a second;
each is a process of its own, which runs what ``ffstream serve`` runs.
"""

from __future__ import annotations

import http.client
import logging
import multiprocessing
import os
import random
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

from crashing.feeders import EPOCH, SHAPE, Feeder
from ffstream import Client, failpoints, ports
from ffstream.config import Config
from ffstream.daemon.service import run
from ffstream.errors import FFStreamError, Refused, Unreachable

# Loaded once, before the fork.
PRELOADED = [
    *("ffstream.daemon.control", "ffstream.daemon.server", "ffstream.daemon.web", "ffstream.daemon.metrics"),
    *("ffstream.stream.engine", "ffstream.client"),
]
START_S = 60.0
STOP_S = 60.0
# Samples in a message, drawn alike: single ones, less and more than a step takes, and a long one.
MESSAGES = (1, 1, 3, 17, 40, 150)
# Seconds between messages of a feeder on average, and between queries: often enough that some ride along with a step of
# few samples, where it shows in the last bits whether a replay has as many rows.
FEED_S, ASK_S = 0.04, 0.01


def forking() -> ForkServerContext:
    """Return the context that forks from a process with torch in it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


class Daemon:
    """One daemon, started and killed again and again on one state directory.

    Parameters
    ----------
    context
        Where its processes come from.
    config
        Its configuration.
    log
        The file that what it writes to standard error is added to.
    """

    def __init__(self, context: ForkServerContext, config: Config, log: Path) -> None:
        self.config = config
        self.log = log
        self.starts = 0
        self._context = context
        self._process: ForkServerProcess | None = None

    @property
    def address(self) -> str:
        """``host:port``, as ``Client`` takes it."""
        return f"{self.config.server.host}:{self.config.server.port}"

    @property
    def exit_code(self) -> int | None:
        """How it ended, the negative of a signal that ended it; ``None`` while it runs."""
        return self._running.exitcode

    def start(self, failpoint: str = "") -> None:
        """Start it with ``FFSTREAM_FAILPOINT`` set so; return before it is ready."""
        self.starts += 1
        self._process = self._context.Process(target=_serve, args=(self.config, failpoint, self.log))
        self._process.start()

    def wait_ready(self) -> None:
        """Return when it is ready; FFStreamError if it ends, or does not get there."""
        give_up = time.monotonic() + START_S
        while not self._ready():
            if self.wait_ended(0.01) or time.monotonic() > give_up:
                raise FFStreamError(f"the daemon was not ready, exit code {self.exit_code}; its log: {self.log}")

    def wait_ended(self, seconds: float) -> bool:
        """Wait at most so long for its end; whether it has ended."""
        self._running.join(seconds)
        return self.exit_code is not None

    def kill(self) -> None:
        """SIGKILL it, if it runs, and return when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def freeze(self) -> None:
        """Stop every thread of it where it is; return when none can say anything more."""
        process = self._running
        if process.pid is None:
            raise RuntimeError("the daemon was not started")
        os.kill(process.pid, signal.SIGSTOP)
        # A thread that waits for the disk (D) stops as soon as it comes back from there.
        while any(state not in "TD" for state in _thread_states(process.pid)):
            time.sleep(0.001)

    def stop(self) -> None:
        """Ask it to finish its step, save and end; FFStreamError if it does not end well."""
        self._running.terminate()
        if not self.wait_ended(STOP_S) or self.exit_code != 0:
            raise FFStreamError(f"the daemon did not stop, exit code {self.exit_code}; its log: {self.log}")

    @property
    def _running(self) -> ForkServerProcess:
        if self._process is None:
            raise RuntimeError("the daemon was not started")
        return self._process

    def _ready(self) -> bool:
        server = self.config.server
        connection = http.client.HTTPConnection(server.host, server.port + ports.HTTP, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _thread_states(pid: int) -> list[str]:
    """Return the state of each thread of a process, a letter each (proc_pid_stat(5))."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return [stat.rpartition(")")[2].split()[0] for stat in stats]


def _serve(config: Config, failpoint: str, log: Path) -> None:
    _end_with_parent()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    os.environ[failpoints.VARIABLE] = failpoint
    run(config)


def feed(feeder: Feeder, address: str, ledger: Path, seed: int, finish: Event) -> None:
    """Feed until told to finish; log how far the samples are acknowledged, a line whenever it has grown."""
    _end_with_parent()
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
    """Ask for predictions until told to finish; whether they are answered is not the matter of this test."""
    _end_with_parent()
    draws = np.random.default_rng()
    with Client(address, timeout_s=1) as client:
        while not finish.wait(ASK_S):
            with suppress(Unreachable, Refused):
                client.predict(draws.random((draws.integers(1, 9), *SHAPE), np.float32))


def _end_with_parent() -> None:
    """End this process when the test ends, however it ends."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("not started by a test")

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
