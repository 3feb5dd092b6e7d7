"""Sources of subjects: learners in process, daemons to start, or a daemon that is already running."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ffstream import Client
from ffstream.config import Config
from ffstream.daemon.spawn import free_port, spawn
from ffstream.data.datasets import Dataset
from ffstream.errors import ConfigError
from ffstream.experiments.deprivation.plan import Plan, Recipe
from ffstream.experiments.deprivation.run import Enrol
from ffstream.experiments.deprivation.subjects import InProcess, Live, Subject

# A daemon must not take the pause between two batches for a quiet stream and nap early.
QUIET_MS = 10_000.0
REPORT_MS = 20.0

Configure = Callable[[Recipe, int], Config]


def in_process(configure: Configure) -> Enrol:
    """Return a factory of the daemon's learner, in process."""

    @contextmanager
    def enrol(recipe: Recipe, seed: int) -> Iterator[Subject]:
        yield InProcess(configure(recipe, seed))

    return enrol


def started(configure: Configure) -> Enrol:
    """Return a factory that starts a daemon on free ports, and stops it at the end."""

    @contextmanager
    def enrol(recipe: Recipe, seed: int) -> Iterator[Subject]:
        with tempfile.TemporaryDirectory(prefix="ffstream-deprivation-") as folder:
            base = configure(recipe, seed)
            changes = {
                "phases": {"quiet_ms": QUIET_MS},
                "engine": {"report_ms": REPORT_MS},
                "server": {"port": free_port()},
                "state": {"directory": Path(folder) / "state"},
            }
            config = base.model_copy(
                update={name: getattr(base, name).model_copy(update=change) for name, change in changes.items()}
            )
            with spawn(config, Path(folder)) as daemon:
                with Client(daemon.address, ack="learned") as client:
                    yield Live(client)
                daemon.stop()

    return enrol


def running(address: str, plan: Plan, data: Dataset) -> Enrol:
    """Return a factory that uses a running daemon that has learned nothing yet.

    Raises
    ------
    ConfigError
        If the plan has several lives, because there is only one daemon.
    """
    if plan.seeds > 1 or len(plan.recipes) > 1:
        raise ConfigError("--address: a daemon has only one life; give --seeds 1 and only one of --recipes")

    @contextmanager
    def enrol(_: Recipe, __: int) -> Iterator[Subject]:
        with Client(address, ack="learned") as client:
            status = client.status()
            if status["version"] or status["samples_learned"]:
                raise ConfigError(
                    f"--address {address}: this daemon has already learned; start one on an empty state.directory"
                )
            if list(status["shape"]) != list(data.shape) or status["labels"] != data.labels:
                raise ConfigError(
                    f"--address {address}: this daemon takes {status['shape']} and {status['labels']} labels, "
                    f"but {plan.dataset} has {list(data.shape)} and {data.labels}"
                )
            yield Live(client)

    return enrol
