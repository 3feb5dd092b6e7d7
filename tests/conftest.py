"""Fixtures: a real daemon, in a process of its own, on real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crashing.forked import Forked
from ffstream import Client
from ffstream.config import parse
from ffstream.daemon.spawn import Spawned, free_port, serve, spawn

SMALL: dict[str, dict[str, Any]] = {
    "network": {"shape": [8, 8], "hidden": [64, 64]},
    # Few samples are fed, so each must count.
    "optimizer": {"rate": 5e-3},
    "engine": {"device": "cpu", "compile": False, "max_batch": 32},
}

StartDaemon = Callable[..., Spawned]


@contextlib.contextmanager
def starter(folder: Path) -> Iterator[StartDaemon]:
    """Give a function that starts daemons with the small network, changed by sections of the configuration.

    ``start(phases={"wake_steps": 2})``; ``port`` and ``directory`` let one follow another. They are forked from a
    process with torch in it, which saves seconds a start; with ``by_command`` one is started as a person does.
    """
    with contextlib.ExitStack() as running:

        def start(
            *,
            port: int | None = None,
            directory: Path | None = None,
            wait: bool = True,
            by_command: bool = False,
            **sections: dict[str, Any],
        ) -> Spawned:
            values = {
                **SMALL,
                "server": {"port": port or free_port()},
                "state": {"directory": str(directory or folder / "state")},
            }
            for name, section in sections.items():
                values[name] = {**values.get(name, {}), **section}
            return running.enter_context(
                spawn(parse(values, "test"), folder, wait=wait, start=serve if by_command else Forked)
            )

        yield start


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[StartDaemon]:
    """Start daemons; see ``starter``."""
    with starter(tmp_path) as start:
        yield start


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Spawned:
    """A daemon with the small network and the default schedule."""
    return start_daemon()


@pytest.fixture
def client(daemon: Spawned) -> Iterator[Client]:
    """A client of ``daemon``, which is acknowledged what is learned."""
    made = Client(daemon.address, ack="learned")
    yield made
    made.close()


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's bundled digits as bytes: (1797, 8, 8) uint8 and (1797,) labels."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return (bundle.images * 15.9375).astype(np.uint8), bundle.target
