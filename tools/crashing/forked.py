"""``ffstream serve``, forked from a server that has loaded torch already, so that it starts in a fraction of a second.

Each is a process of its own, with its own environment, log, exit code and end, and runs the command line as a person
would start it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path

from ffstream.cli import main

# Loaded once, before the fork. Importing them starts no thread, which a fork would lose.
PRELOADED = [
    *("ffstream.cli", "ffstream.client"),
    *("ffstream.daemon.control", "ffstream.daemon.server", "ffstream.daemon.web", "ffstream.daemon.metrics"),
    "ffstream.stream.engine",
]


def forking() -> ForkServerContext:
    """Return the context that forks from a process with torch in it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


class Forked:
    """A daemon's process, with what ``subprocess.Popen`` has for it.

    Parameters
    ----------
    config
        Its TOML file.
    log
        The file that what it writes to standard output and error is added to.
    environment
        Its environment variables; by default those of this process.
    """

    def __init__(self, config: Path, log: Path, environment: dict[str, str] | None = None) -> None:
        log.touch()  # It is there from the start on, as it is where a shell makes it.
        arguments = ["serve", "-c", str(config)]
        environment = dict(os.environ) if environment is None else environment
        self._process = forking().Process(target=_serve, args=(arguments, log, environment))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        if self._process.pid is None:
            raise RuntimeError("a process that was started has a number")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, the negative of a signal that ended it; ``None`` while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return ``returncode``."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return ``returncode`` once it has ended; ``subprocess.TimeoutExpired`` if that takes too long."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(["ffstream", "serve"], timeout or 0)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _serve(arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    """Run the command line; what was started with ``multiprocessing`` ends with the code that it exits with."""
    end_with_parent()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["ffstream", *arguments]
    main()


def end_with_parent() -> None:
    """End this process when the one that wanted it ends, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("not started by multiprocessing")

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
