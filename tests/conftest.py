"""Fixtures: a real daemon, in a process of its own, on real sockets."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffstream import Client, wire

PORTS = 6
SMALL = {"network": {"shape": [8, 8], "hidden": [64, 64]}, "engine": {"device": "cpu"}}


@dataclass
class Daemon:
    """A running daemon."""

    process: subprocess.Popen[str]
    port: int
    state: Path
    log: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def http(self, path: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{self.port + wire.HTTP}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        lines = [line for line in self.http("/metrics")[1].splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def wait_ready(self) -> None:
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                pytest.fail(f"the daemon ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                if self.http("/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        pytest.fail(f"the daemon was not ready within 60 s:\n{self.log.read_text()}")

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def free_port() -> int:
    """Find six free ports in a row."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        try:
            for offset in range(PORTS):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return port
    raise RuntimeError("no six free ports in a row")


def toml(sections: dict[str, dict[str, Any]]) -> str:
    """Write nested values as TOML; JSON's scalars and lists are TOML's."""
    return "\n".join(
        f"[{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in section.items())
        for name, section in sections.items()
    )


StartDaemon = Callable[..., Daemon]


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[StartDaemon]:
    """Start daemons with the small network, changed by sections: ``start_daemon(phases={"wake_steps": 2})``."""
    started: list[Daemon] = []

    def start(*, port: int | None = None, state: Path | None = None, **sections: dict[str, Any]) -> Daemon:
        base = port or free_port()
        folder = state or tmp_path / "state"
        values: dict[str, dict[str, Any]] = {**SMALL, "server": {"port": base}, "state": {"directory": str(folder)}}
        for name, section in sections.items():
            values[name] = {**values.get(name, {}), **section}
        config = tmp_path / f"{base}-{len(started)}.toml"
        config.write_text(toml(values))
        log = config.with_suffix(".log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "ffstream", "serve", "-c", str(config)], stderr=output, text=True
            )
        daemon = Daemon(process, base, folder, log)
        started.append(daemon)
        daemon.wait_ready()
        return daemon

    yield start
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.process.kill()
        daemon.process.wait()


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    """A daemon with the small network and the default schedule."""
    return start_daemon()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """A client of ``daemon``."""
    made = Client(daemon.address)
    yield made
    made.close()


@pytest.fixture
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's bundled digits as bytes: (1797, 8, 8) uint8 and (1797,) labels."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return (bundle.images * 15.9375).astype(np.uint8), bundle.target
