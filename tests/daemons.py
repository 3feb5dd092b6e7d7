"""Real daemons for tests, each in a process of its own, on real sockets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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

# How long a test waits for what must come: far longer than it takes, because a busy machine is no reason to fail.
PATIENCE_S = 120.0


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


def counted(daemon: Spawned, name: str, **labels: str) -> float:
    """Return a counter of a daemon by its name and labels, 0 before the first of its kind."""
    text = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return daemon.metrics().get(f"ffstream_{name}_total{{{text}}}", 0.0)


def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition, and fail where it never comes to hold."""
    give_up = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def predictions(client: Client, count: int) -> tuple[list[int], list[int]]:
    """Return the labels of the first samples, so many in all, and what was predicted, as prediction events tell."""
    labels: list[int] = []
    predicted: list[int] = []
    with client.events("prediction", after=0, timeout_s=PATIENCE_S) as events:
        for event in events:
            labels += event.fields["labels"]
            predicted += event.fields["predicted"]
            if len(labels) >= count:
                break
    assert len(labels) == count
    return labels, predicted
