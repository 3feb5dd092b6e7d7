"""Engines for tests, without the daemon's loop: each turn is the test's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ffstream.config import Config, parse
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.engine import Engine
from ffstream.stream.inbox import Command, Inbox, QueryBatch, SampleBatch
from ffstream.stream.journal import Journal
from ffstream.stream.outbox import Outbox
from ffstream.stream.records import Received

RANDOM = np.random.default_rng(0)


def config_of(**sections: dict[str, Any]) -> Config:
    """Give a small network that learns at every turn and is never in a hurry."""
    small: dict[str, dict[str, Any]] = {
        "network": {"shape": [6], "labels": 3, "hidden": [12, 9]},
        "phases": {"schedule": "together", "quiet_ms": 10},
        "engine": {"device": "cpu", "max_batch": 8, "max_wait_ms": 0, "report_ms": 1e6},
    }
    return parse({name: {**small.get(name, {}), **sections.get(name, {})} for name in {*small, *sections}}, "test")


class Driven:
    """An engine with what it said."""

    def __init__(self, directory: Path, *, catch_up: bool = True, **sections: dict[str, Any]) -> None:
        self.inbox, self.outbox = Inbox(100, query_bytes=2**20), Outbox(lambda: None)
        store = CheckpointStore(directory, keep=3)
        self.journal = Journal(directory / "journal.sqlite")
        self.engine = Engine(config_of(**sections), store, self.journal, self.inbox, self.outbox)
        if catch_up:
            self.catch_up()
        self.said = self.outbox.drain()

    def catch_up(self) -> None:
        while self.engine.recovery is not None:
            self.engine.turn()

    def turn(self, count: int = 1) -> list[Any]:
        for _ in range(count):
            self.engine.turn()
        return self.outbox.drain()

    def feed(self, count: int, feeder: str = "f", first: int = 0, epoch: int = 4) -> None:
        inputs = RANDOM.random((count, 6), np.float32)
        self.take_in(self.batch(inputs, RANDOM.integers(0, 3, count), feeder, first, epoch))

    @staticmethod
    def batch(inputs: Any, labels: Any, feeder: str = "f", first: int = 0, epoch: int = 4) -> SampleBatch:
        return SampleBatch(inputs, labels, feeder, epoch, first)

    def take_in(self, batch: SampleBatch) -> None:
        self.inbox.put_samples(batch.at(self.journal.append(Received(batch))))

    def ask(self, rows: int, token: str = "q", deadline: float = float("inf")) -> None:
        self.inbox.put_query(QueryBatch(token, RANDOM.random((rows, 6), np.float32), time.monotonic(), deadline))

    def order(self, name: str, argument: str = "") -> dict[str, Any]:
        """Give a command, turn until it is obeyed, and return the reply."""
        command = Command(name, argument)
        self.inbox.put_command(command)
        give_up = time.monotonic() + 120
        while not command.reply.done() and time.monotonic() < give_up:
            self.engine.turn()
        return command.reply.result(timeout=0)

    def close(self) -> None:
        """End as a process that is killed does: what was appended may be on disk, nothing is saved."""
        self.engine._keeper.close()
        self.journal.close()

    def weights(self) -> list[torch.Tensor]:
        return [tensor.clone() for tensor in self.engine.learner.network.state().values()]

    def run(self) -> None:
        """Turn until what waits is learned, then stop."""
        while self.inbox.samples:
            self.engine.turn()
        self.engine.close()


def made(folder: Path) -> Path:
    (folder / "state").mkdir()
    return folder / "state"


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
