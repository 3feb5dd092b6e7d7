"""``ffstream serve``, forked from a server that has loaded torch already, so that it starts in a fraction of a second.

Each daemon is a separate process, with its own environment, log and exit code, and runs the command line as a user
would.
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

# Imported once, before the fork. Importing them starts no thread; a fork would lose one.
PRELOADED = [
    *("ffstream.cli", "ffstream.client"),
    *("ffstream.daemon.control", "ffstream.daemon.server", "ffstream.daemon.web", "ffstream.daemon.metrics"),
    "ffstream.stream.engine",
]


def forking() -> ForkServerContext:
    """Return the context that forks from a process with torch loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


class Forked:
    """A daemon's process, with the interface of ``subprocess.Popen``.

    Parameters
    ----------
    config
        Its TOML file.
    log
        File to which its standard output and error are appended.
    environment
        Environment variables; by default those of this process.
    """

    def __init__(self, config: Path, log: Path, environment: dict[str, str] | None = None) -> None:
        log.touch()  # It exists from the start, as when a shell creates it.
        arguments = ["serve", "-c", str(config)]
        environment = dict(os.environ) if environment is None else environment
        self._process = forking().Process(target=_serve, args=(arguments, log, environment))
        self._process.start()

    @property
    def pid(self) -> int:
        """Process ID."""
        if self._process.pid is None:
            raise RuntimeError("a process that was started has a number")
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for the signal that ended the process; ``None`` while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return ``returncode``."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return ``returncode`` once the process has ended; raise ``subprocess.TimeoutExpired`` on timeout."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(["ffstream", "serve"], timeout or 0)
        return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _serve(arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    """Run the command line; the ``multiprocessing`` process exits with its exit code."""
    end_with_parent()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["ffstream", *arguments]
    main()


def end_with_parent() -> None:
    """End this process when its parent ends, however the parent ends."""
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("not started by multiprocessing")

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
