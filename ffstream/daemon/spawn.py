"""Temporary daemons in separate processes, for the demo, experiments, benchmarks and tests."""

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

# Below the ephemeral ports (ip_local_port_range in ip(7): from 32768 on Linux).
PORTS = range(10_000, 32_000)
# A busy machine may take minutes to load and compile; a daemon that cannot start exits sooner.
START_S = 600.0
STOP_S = 60.0
LAST_WORDS = 40
# Compiling takes minutes on a busy machine.
COMPILED_S = 900.0


class Process(Protocol):
    """Interface of a daemon's process, as in ``subprocess.Popen``."""

    @property
    def pid(self) -> int:
        """Process ID."""

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for the signal that ended the process; ``None`` until its end is known."""

    def poll(self) -> int | None:
        """Check whether the process has ended; return ``returncode``."""

    def wait(self, timeout: float | None = None) -> int:
        """Return ``returncode`` once the process has ended; raise ``subprocess.TimeoutExpired`` on timeout."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


@dataclass(frozen=True)
class Spawned:
    """A running daemon.

    Attributes
    ----------
    process
        Its process.
    config
        Its configuration.
    log
        File with its standard output and standard error.
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
        """Wait until the daemon is ready; raise FFStreamError with its last log lines if it ends instead."""
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise FFStreamError(f"the daemon ended with code {self.process.returncode}:\n{self._last_words()}")
            # Before the daemon listens, a local connection can connect to itself and read its own request.
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get("/readyz")[0] == 200:
                    return
            time.sleep(0.02)
        raise Unreachable(f"the daemon was not ready within {START_S:g} s; its log:\n{self._last_words()}")

    def wait_compiled(self) -> None:
        """Wait until its sweeps are compiled, or run uncompiled for good; timing may start then.

        Raises
        ------
        Unreachable
            If it still compiles after a quarter of an hour.
        """
        give_up = time.monotonic() + COMPILED_S
        while time.monotonic() < give_up:
            told = [name for name in self.metrics() if name.startswith("ffstream_backend_info")]
            if told and 'loop="compiling"' not in told[0]:
                return
            time.sleep(0.1)
        raise Unreachable(f"the daemon was still compiling after {COMPILED_S:g} s; its log:\n{self._last_words()}")

    def stop(self) -> int:
        """Ask the daemon to finish its step, save and exit; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-LAST_WORDS:])


def serve(config: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start ``ffstream serve`` on a TOML file; its output is appended to ``log``."""
    command = [sys.executable, "-m", "ffstream", "serve", "-c", str(config)]
    keep_kernels()
    # The file is complete; settings in the environment are for the user's own daemon.
    environment = {name: value for name, value in os.environ.items() if not is_setting(name)}
    with log.open("ab") as output:
        # S603: the command is our own.
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # noqa: S603


def keep_kernels() -> None:
    """Cache compiled kernels outside the state directories, so that they outlive this process and its daemons."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "ffstream"))


@contextlib.contextmanager
def spawn(
    config: Config, folder: Path, *, wait: bool = True, start: Callable[[Path, Path], Process] = serve
) -> Iterator[Spawned]:
    """Start a daemon, and leave none running at the end, whatever happens.

    Parameters
    ----------
    config
        Its configuration.
    folder
        Folder for its TOML file and its log.
    wait
        True to wait until it is ready.
    start
        Function that starts it, given the TOML file and the log.
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
    """Find the first of six consecutive free ports on an IPv4 or IPv6 address.

    Ephemeral ports are avoided: while a daemon is down, the system could give one of its ports to a connection.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = secrets.choice(PORTS)
        with contextlib.suppress(OSError, OverflowError), contextlib.ExitStack() as held:
            for offset in range(ports.HTTP + 1):
                held.enter_context(socket.socket(family)).bind((host, port + offset))
            return port
