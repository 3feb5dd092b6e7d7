"""A daemon as a process of its own, for whoever needs one for a while: the demo, experiments, benchmarks, tests."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ffstream import ports
from ffstream.config import Config, is_setting, to_toml
from ffstream.errors import FFStreamError, Unreachable

# Below the ports that connections begin at (ip_local_port_range(7): 32768 on Linux).
PORTS = range(10_000, 32_000)
# A busy machine may take minutes to load and compile; a daemon that cannot start ends sooner.
START_S = 600.0
STOP_S = 60.0
LAST_WORDS = 40
# Compiling takes minutes on a busy machine.
COMPILED_S = 900.0


class Process(Protocol):
    """What is asked of a daemon's process, as ``subprocess.Popen`` has it."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | None:
        """How it ended, the negative of a signal that ended it; ``None`` while it is not known to have."""

    def poll(self) -> int | None:
        """Look whether it has ended; return ``returncode``."""

    def wait(self, timeout: float | None = None) -> int:
        """Return ``returncode`` once it has ended; ``subprocess.TimeoutExpired`` if that takes longer."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


@dataclass(frozen=True)
class Spawned:
    """A daemon that runs.

    Attributes
    ----------
    process
        Its process.
    config
        Its configuration.
    log
        The file that holds what it wrote to standard error.
    """

    process: Process
    config: Config
    log: Path

    @property
    def address(self) -> str:
        """``host:port``, as ``Client`` takes it."""
        return ports.join(self.config.server.host, self.config.server.port)

    def get(self, path: str) -> tuple[int, str]:
        """Fetch ``/metrics``, ``/livez`` or ``/readyz``; return status and body."""
        server = self.config.server
        connection = http.client.HTTPConnection(server.host, server.port + ports.HTTP, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def metrics(self) -> dict[str, float]:
        """Return every sample on ``/metrics``, labels in the name: ``ffstream_phase{phase="wake"}``."""
        lines = (line for line in self.get("/metrics")[1].splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def wait_ready(self) -> None:
        """Return when the daemon is ready; FFStreamError with its last words if it ends instead."""
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise FFStreamError(f"the daemon ended with code {self.process.returncode}:\n{self._last_words()}")
            # While nobody listens yet, a connection within the machine can meet itself and read its own request.
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get("/readyz")[0] == 200:
                    return
            time.sleep(0.02)
        raise Unreachable(f"the daemon was not ready within {START_S:g} s; its log:\n{self._last_words()}")

    def wait_compiled(self) -> None:
        """Return when its sweeps are compiled, or run uncompiled for good: what is to be timed begins here.

        Raises
        ------
        Unreachable
            If that is not so within a quarter of an hour.
        """
        give_up = time.monotonic() + COMPILED_S
        while time.monotonic() < give_up:
            told = [name for name in self.metrics() if name.startswith("ffstream_backend_info")]
            if told and 'loop="compiling"' not in told[0]:
                return
            time.sleep(0.1)
        raise Unreachable(f"the daemon still compiled after {COMPILED_S:g} s; its log:\n{self._last_words()}")

    def stop(self) -> int:
        """Ask the daemon to finish its step, save and end; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-LAST_WORDS:])


def serve(config: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start ``ffstream serve`` on a TOML file; what it writes is added to ``log``."""
    command = [sys.executable, "-m", "ffstream", "serve", "-c", str(config)]
    keep_kernels()
    # The file says all: a setting in the environment is for a daemon of the user's own.
    environment = {name: value for name, value in os.environ.items() if not is_setting(name)}
    with log.open("ab") as output:
        # S603: the command is our own.
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # noqa: S603


def keep_kernels() -> None:
    """Have what this process and its daemons compile outlive them: they would lie in state directories that do not."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "ffstream"))


@contextlib.contextmanager
def spawn(
    config: Config, folder: Path, *, wait: bool = True, start: Callable[[Path, Path], Process] = serve
) -> Iterator[Spawned]:
    """Start a daemon; whatever happens, none is left at the end.

    Parameters
    ----------
    config
        Its configuration.
    folder
        Where its TOML file and its log go.
    wait
        Go on only when it is ready.
    start
        Starts it, given the TOML file and the log.
    """
    path, log = folder / f"{config.server.port}.toml", folder / f"{config.server.port}.log"
    path.write_text(to_toml(config))
    process = start(path, log)
    try:
        daemon = Spawned(process, config, log)
        if wait:
            daemon.wait_ready()
        yield daemon
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def free_port(host: str = ports.HOST) -> int:
    """Find a port of an IPv4 or IPv6 address from which on six are free.

    Not among those that the system gives to whoever connects: while a daemon is down, one of its ports would be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = secrets.choice(PORTS)
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as held:
            for offset in range(ports.HTTP + 1):
                held.enter_context(socket.socket(family)).bind((host, port + offset))
            return port
