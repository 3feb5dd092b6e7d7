"""Fixtures: a real daemon, in a process of its own, on real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from daemons import StartDaemon, starter

from ffstream import Client
from ffstream.daemon.spawn import Spawned


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, so that no process is left with a long one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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
