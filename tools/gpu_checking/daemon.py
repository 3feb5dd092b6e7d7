"""Stages that use a daemon on the device over its sockets: a life with a kill and a replay, streaming, queries."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
from torch import Tensor

from ffstream import Client
from ffstream.bench import latency as queries
from ffstream.bench import stream as feeding
from ffstream.config import Config, parse
from ffstream.daemon.spawn import free_port, spawn
from ffstream.data.datasets import Dataset, load
from ffstream.errors import FFStreamError
from ffstream.measuring.nets import widths
from ffstream.stream.checkpoint import CheckpointStore
from gpu_checking.report import Figure, Row
from gpu_checking.site import Site

# Sleep steps to wait for, and the maximum seconds to wait.
NAP_STEPS, PATIENCE_S = 50, 60.0


def smoke(site: Site) -> Generator[Row]:
    """Let a daemon learn, answer, sleep and save; kill it, and compare the result of its replay."""
    digits = load("digits", site.folder)
    config = _configuration(site)
    began = time.monotonic()
    with spawn(config, site.folder) as daemon, Client(daemon.address, ack="learned") as client:
        yield Row("start", {"ready_s": time.monotonic() - began, "device": str(client.status()["device"])})
        yield Row("learn", _learn(client, digits, passes=1 if site.dry else 5))
        client.control("sleep")
        asleep = client.status()["sleep_steps"]
        _until(lambda: client.status()["sleep_steps"] >= asleep + NAP_STEPS)
        client.control("auto")
        # The replay begins at the first checkpoint; the second, whose state it must reach, is moved away below.
        began = time.monotonic()
        client.control("checkpoint")
        yield Row("sleep and checkpoint", {"checkpoint_s": time.monotonic() - began, **_state(client)})
        _learn(client, digits, passes=1)
        client.control("hold")
        client.control("checkpoint", checkpoint="expected")
        before = {**_state(client), **_answers(client, digits)}
        goodness = client.predict(digits.test[0][:100]).goodness
        daemon.process.kill()
        daemon.process.wait()
    yield Row("before kill -9", before)
    state = config.state.directory
    aside = site.folder / "aside"
    aside.mkdir()
    (state / "expected").rename(aside / "expected")
    began = time.monotonic()
    with spawn(config, site.folder) as daemon, Client(daemon.address, timeout_s=PATIENCE_S) as client:
        ready_s = time.monotonic() - began
        after = {**_state(client), **_answers(client, digits)}
        moved = float(np.abs(client.predict(digits.test[0][:100]).goodness - goodness).max())
        client.control("checkpoint", checkpoint="replayed")
        daemon.stop()
        (replayed,) = re.findall(r"caught up: (\d+) records", daemon.log.read_text())
    yield Row("after the replay", {"ready_s": ready_s, **after, "records": int(replayed), "goodness_moved_by": moved})
    yield Row("weights after the replay", _compared(aside, state))
    if after["version"] != before["version"]:
        raise FFStreamError(f"the replay ends at version {after['version']}, not {before['version']}")


def stream(site: Site) -> Generator[Row]:
    """Feed a daemon through its sockets, as ``ffstream bench stream`` does."""
    ways = [feeding.Way(64, "uint8"), feeding.Way(1, "uint8", feeding.HELD)]
    for way in ways[: 1 if site.dry else None]:
        folder = site.folder / f"stream-{way.message_samples}"
        folder.mkdir()
        (row,) = feeding.measure(folder, widths(site.net), [way], 0.2 if site.dry else 2.0, lambda: None)
        yield Row(
            f"{way.message_samples} samples a message, {way.held} held",
            {
                "samples_per_s": row.samples_per_second,
                "engine_per_s": row.in_process,
                "learner_per_s": row.learner,
                "share_of_engine": row.fraction_of_in_process,
            },
        )


def latency(site: Site) -> Generator[Row]:
    """Query a daemon that is saturated, then at half load, then idle, as ``ffstream bench latency`` does."""
    folder = site.folder / "latency"
    folder.mkdir()
    rows = queries.measure(folder, widths(site.net), 1.0 if site.dry else 3.0)
    for row in itertools.islice(rows, 1 if site.dry else None):
        yield Row(
            f"{row.load}, {row.clients} clients",
            {
                "p50_ms": row.p50_ms,
                "p99_ms": row.p99_ms,
                "sweep_p50_ms": row.sweep_p50_ms,
                "sweep_p99_ms": row.sweep_p99_ms,
                "samples_per_s": row.samples_per_second,
                "lost": row.lost,
            },
        )


def _configuration(site: Site) -> Config:
    hidden = [32, 32] if site.dry else [512, 512]
    return parse(
        {
            "network": {"shape": [8, 8], "hidden": hidden},
            "engine": {"device": site.device.type, "compile": not site.dry},
            "server": {"port": free_port()},
            # No checkpoints except the requested ones.
            "state": {"directory": str(site.folder / "state"), "checkpoint_s": 1e6},
        },
        "gpu-check",
    )


def _learn(client: Client, digits: Dataset, passes: int) -> dict[str, Figure]:
    images, labels = digits.train
    began = time.monotonic()
    for _ in range(passes):
        client.feed(images, labels)
    client.flush()
    rate = passes * len(labels) / (time.monotonic() - began)
    return {"samples_per_s": rate, **_answers(client, digits)}


def _answers(client: Client, digits: Dataset) -> dict[str, Figure]:
    images, labels = digits.test
    began = time.monotonic()
    right = client.predict(images).labels == labels
    return {"accuracy": float(right.mean()), "queries_ms": (time.monotonic() - began) * 1e3}


def _state(client: Client) -> dict[str, Figure]:
    status = client.status()
    told = ("version", "samples_learned", "wake_steps", "sleep_steps", "prequential")
    return {name: status[name] for name in told}


def _compared(expected: Path, state: Path) -> dict[str, Figure]:
    """Return the differences between the tensors after a replay and before the kill."""
    before = CheckpointStore(expected, 1).read("expected").tensors["network"]
    after = CheckpointStore(state, 1).read("replayed").tensors["network"]
    apart = {name: _apart(tensor, after[name]) for name, tensor in before.items()}
    worst = max(apart, key=lambda name: apart[name])
    equal = sum(bool((tensor == after[name]).all()) for name, tensor in before.items())
    return {
        "bit_equal": equal == len(before),
        "tensors_equal": equal,
        "tensors": len(before),
        "worst": worst,
        "apart_relative": apart[worst],
    }


def _apart(one: Tensor, other: Tensor) -> float:
    one, other = one.double(), other.double()
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-30)) if one.numel() else 0.0


def _until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > give_up:
            raise FFStreamError(f"did not come to hold within {PATIENCE_S:g} s")
        time.sleep(0.02)
