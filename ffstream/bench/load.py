"""Load generators that feed and query a daemon; they do not import torch, so that their processes start quickly."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ffstream import Client
from ffstream.errors import FFStreamError

MESSAGE_SAMPLES = 64
PATIENCE_S = 60.0


def samples(count: int, width: int, dtype: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Draw images (count, width), bytes or floats in 0 … 1, and labels (count,)."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, width), np.uint8)
    return images if dtype == "uint8" else images.astype(np.float32) / 255, random.integers(0, 10, count)


@contextmanager
def feeding(address: str, width: int, rate: float) -> Iterator[None]:
    """Feed a daemon from a separate process, at ``rate`` samples per second.

    The context begins once the daemon has learned the first samples, and ends once it has learned the last, so that
    none affect the next measurement.
    """
    if rate == 0:
        yield
        return
    feeder = multiprocessing.get_context("spawn").Process(target=_feed, args=(address, width, rate), daemon=True)
    feeder.start()
    try:
        with Client(address) as client:
            before = client.status()["samples_learned"]
            while client.status()["samples_learned"] == before:
                time.sleep(0.05)
        yield
    finally:
        feeder.terminate()
        feeder.join()
    with Client(address) as client:
        while client.status()["samples_waiting"]:
            time.sleep(0.05)


class Asked(NamedTuple):
    """Start time and latencies of a series of queries.

    Attributes
    ----------
    began
        Unix time from which the due times of queries are counted.
    latencies
        Seconds from when each query was due to its answer; NaN if none came.
    """

    began: float
    latencies: NDArray[np.float64]


def ask(
    address: str, clients: int, width: int, due: NDArray[np.float64], advance: Callable[[], object] = lambda: None
) -> Asked:
    """Query a daemon at given times, with some clients in turns.

    Parameters
    ----------
    address, clients
        Address of the daemon, and number of connections, each in its own thread.
    width
        Number of values per sample.
    due
        Seconds from the start at which queries are due.
    advance
        Called after each query by the thread that sent it.
    """
    latencies = np.full(len(due), np.nan)
    images, _ = samples(256, width, "uint8")
    connected = threading.Barrier(clients + 1)
    begin = [0.0]

    def one(which: int) -> None:
        # A late answer is a long latency, not a lost query.
        with Client(address, timeout_s=PATIENCE_S) as client:
            client.predict(images[:1])
            connected.wait()
            connected.wait()
            for query in range(which, len(due), clients):
                when = begin[0] + due[query]
                time.sleep(max(0.0, when - time.monotonic()))
                with suppress(FFStreamError):
                    client.predict(images[query % len(images)][None])
                    latencies[query] = time.monotonic() - when
                advance()

    threads = [threading.Thread(target=one, args=(which,)) for which in range(clients)]
    for thread in threads:
        thread.start()
    connected.wait()
    begin[0] = time.monotonic() + 0.1
    connected.wait()
    for thread in threads:
        thread.join()
    return Asked(time.time() - time.monotonic() + begin[0], latencies)


def _feed(address: str, width: int, rate: float) -> None:
    inputs, labels = samples(4_096, width, "uint8")
    with Client(address) as client:
        started, fed = time.monotonic(), 0
        while True:
            part = slice(fed % len(labels), fed % len(labels) + MESSAGE_SAMPLES)
            client.feed(inputs[part], labels[part])
            fed += MESSAGE_SAMPLES
            time.sleep(max(0.0, started + fed / rate - time.monotonic()))
