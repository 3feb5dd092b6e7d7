"""The checker finds every way in which the promise can be broken."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crashing.checker import Findings, check
from crashing.course import configuration
from crashing.feeders import EPOCH, FEEDERS, Feeder
from ffstream.stream.checkpoint import CheckpointStore, Snapshot
from ffstream.stream.inbox import Inbox, SampleBatch
from ffstream.stream.journal import Journal
from ffstream.stream.learner import Learner
from ffstream.stream.records import Advanced, Quarantined, Received, Stepped

ONE, OTHER = FEEDERS[0], FEEDERS[3]


class History:
    """What a daemon leaves behind that received, learned, saved and acknowledged as the test says."""

    def __init__(self, folder: Path, **sections) -> None:
        base = configuration(folder / "state")
        changed = {name: getattr(base, name).model_copy(update=section) for name, section in sections.items()}
        self.config = base.model_copy(update=changed)
        self.config.state.directory.mkdir()
        self.path = self.config.state.directory / "journal.sqlite"
        self.ledgers = folder / "ledgers"
        self.ledgers.mkdir()
        self.journal = Journal(self.path)
        self.learner = Learner(self.config)
        self.inbox = Inbox(1, 1)
        self.acknowledged = dict.fromkeys(FEEDERS, 0)

    def receive(self, feeder: Feeder, first: int, count: int, spoil: str = ""):
        inputs, labels = feeder.samples(first, count)
        if spoil == "inputs":
            inputs[0, 0, 0] *= -1
        if spoil == "labels":
            labels[0] = (labels[0] + 1) % 10
        batch = SampleBatch(inputs, labels, feeder.name, EPOCH, first)
        self.journal.append(Received(batch))
        self.inbox.put_samples(batch)
        self.acknowledged[feeder] = first + count

    def step(self, samples: int, queries: int = 0, *, journaled: bool = True, compiled: bool | None = None):
        if self.learner.advance(quiet=False):
            self.journal.append(Advanced(quiet=False))
        samples = 0 if self.learner.asleep else samples
        rows = [np.ones((queries, *self.config.network.shape), np.float32)] if queries else []
        made = self.learner.learn(self.inbox.take(samples), rows)
        if journaled:
            self.journal.append(Stepped(made.version, samples, queries, compiled))

    def learn(self):
        """Learn all that was received, naps included."""
        while self.inbox.samples:
            self.step(min(20, self.inbox.samples), queries=self.learner.version % 3)

    def end(self, change: Callable[[Snapshot], Snapshot] = lambda snapshot: snapshot) -> Findings:
        self.journal.close()
        progress = {"progress": {"lsn": 0, "front": [0, 0], "feeders": {}}}
        store = CheckpointStore(self.config.state.directory, 3)
        store.save(change(self.learner.snapshot(progress)))
        for feeder, upto in self.acknowledged.items():
            (self.ledgers / feeder.name).write_text(f"0\n{upto}\n" if upto else "")
        return check(self.config, self.ledgers)


@pytest.fixture
def history(tmp_path):
    made = History(tmp_path)
    made.receive(ONE, 0, 150)
    made.receive(OTHER, 0, 50)
    made.receive(ONE, 150, 30)
    yield made
    made.journal.close()


def test_a_promise_that_was_kept(history):
    history.learn()
    found = history.end()
    assert found == Findings(acknowledged=230, learned_once=230, weights_equal=True)
    assert found.passed


@pytest.mark.timeout(600)
@pytest.mark.parametrize("told", [True, False])
def test_steps_that_ran_compiled_are_followed_compiled(tmp_path, told):
    history = History(tmp_path, network={"hidden": (16,)}, engine={"compile": True}, phases={"schedule": "together"})
    history.learner.compile()
    history.receive(ONE, 0, 150)
    history.receive(OTHER, 0, 50)
    for step in range(10):
        history.learner.network.run(compiled=step % 2 == 0)
        history.step(20, compiled=told and step % 2 == 0)
    assert history.end().weights_equal == told


def test_samples_that_nobody_was_told_of_may_be_missing(history):
    history.acknowledged[ONE] = 100
    history.learn()
    found = history.end()
    assert (found.acknowledged, found.learned_once, found.passed) == (150, 150, True)


def test_a_ledger_that_says_more_than_the_journal_holds(history):
    history.learn()
    history.acknowledged[OTHER] += 7
    found = history.end()
    assert (found.lost, found.learned_once, found.passed) == (7, 230, False)
    assert f"('{OTHER.name}', 50)" in str(found.problems)


def test_samples_that_the_journal_does_not_hold(history):
    history.receive(ONE, 200, 10)
    history.learn()
    found = history.end()
    assert (found.acknowledged, found.lost, found.learned_once, found.passed) == (260, 20, 240, False)


def test_samples_that_no_step_took(history):
    history.learn()
    history.receive(ONE, 180, 5)
    found = history.end()
    assert (found.lost, found.learned_once, found.weights_equal, found.passed) == (5, 230, True, False)


def test_samples_that_came_twice(history):
    history.receive(ONE, 175, 5)
    history.learn()
    found = history.end()
    assert (found.duplicated, found.lost, found.learned_once, found.passed) == (5, 0, 225, False)


@pytest.mark.parametrize("spoil", ["inputs", "labels"])
def test_samples_that_are_not_what_was_sent(history, spoil):
    history.receive(OTHER, 50, 4, spoil)
    history.learn()
    found = history.end()
    assert (found.lost, found.learned_once, found.passed) == (1, 233, False)
    assert f"not what was sent: ('{OTHER.name}', 50)" in found.problems


def test_samples_of_another_kind(history):
    history.learn()
    history.journal.append(Received(SampleBatch(*OTHER.samples(0, 1), ONE.name, EPOCH, 180)))
    found = history.end()
    assert not found.passed
    assert "samples are float32" in found.problems[0]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM record WHERE lsn = 2",
        "DELETE FROM record WHERE lsn = 1",
        "UPDATE record SET body = zeroblob(10) WHERE lsn = 3",
        "UPDATE record SET crc = crc + 1 WHERE lsn = 1",
    ],
)
def test_a_journal_that_lacks_or_damaged_a_record(history, statement):
    history.learn()
    history.journal.close()
    with sqlite3.connect(history.path) as db:
        db.execute(statement)
    db.close()
    found = history.end()
    assert not found.passed
    assert "the journal cannot be followed" in found.problems[0]
    assert found.lost > 0


def test_a_step_that_was_not_written_down(history):
    history.step(20)
    history.step(20, journaled=False)
    history.learn()
    found = history.end()
    assert not found.passed
    assert "a step of version 2, the weights are of version 1" in found.problems[0]


def test_a_last_step_that_was_not_written_down(history):
    history.learn()
    history.receive(ONE, 180, 1)
    history.step(1, journaled=False)
    found = history.end()
    assert (found.lost, found.weights_equal, found.passed) == (1, False, False)


def flipped(snapshot: Snapshot, file: str, name: str) -> Snapshot:
    """Turn one bit of one tensor over."""
    tensor = snapshot.tensors[file][name]
    tensor.view(-1).numpy().view(np.uint8)[0] ^= 1
    return snapshot


def tensors_of(file: str) -> list[str]:
    return sorted(Learner(configuration(Path("unused"))).snapshot().tensors[file])


@pytest.mark.parametrize(
    ("file", "name"), [(file, name) for file in ("network", "memory") for name in tensors_of(file)]
)
def test_one_bit_of_any_tensor(history, file, name):
    history.learn()
    found = history.end(lambda snapshot: flipped(snapshot, file, name))
    assert (found.lost, found.weights_equal, found.passed) == (0, False, False)
    assert f"{file}.{name}" in found.problems[0]


@pytest.mark.parametrize("key", ["scheduler", "prequential", "phase_steps", "samples_learned", "memory_seen"])
def test_any_counter(history, key):
    def change(snapshot: Snapshot) -> Snapshot:
        value: Any = snapshot.manifest[key]
        other = {**value, next(iter(value)): None} if isinstance(value, dict) else value + 1
        return replace(snapshot, manifest={**snapshot.manifest, key: other})

    history.learn()
    found = history.end(change)
    assert (found.weights_equal, found.passed) == (False, False)
    assert key in found.problems[0]


def test_the_version(history):
    history.learn()
    found = history.end(lambda snapshot: replace(snapshot, version=snapshot.version + 1))
    assert (found.weights_equal, found.passed) == (False, False)


def test_no_checkpoint_at_all(history):
    history.learn()
    history.journal.close()
    found = check(history.config, history.ledgers)
    assert not found.passed
    assert "no checkpoint" in str(found.problems)


def test_a_sample_that_was_set_aside_is_neither_learned_nor_lost(history):
    history.inbox.take(1)
    history.journal.append(Quarantined(ONE.name, EPOCH, 0))
    history.learn()
    found = history.end()
    assert (found.quarantined, found.lost, found.learned_once) == (1, 0, 229)
    assert not found.passed


@pytest.mark.parametrize("text", ["10\n9\n", "10\nten\n", "-1\n", "10\n\n", "1.5\n", "\xff\n"])
def test_a_damaged_ledger(history, text):
    history.learn()
    assert history.end().passed
    (history.ledgers / ONE.name).write_text(text, "latin-1")
    found = check(history.config, history.ledgers)
    assert not found.passed
    assert ONE.name in found.problems[0]


def test_a_missing_ledger(history):
    history.learn()
    assert history.end().passed
    (history.ledgers / ONE.name).unlink()
    assert not check(history.config, history.ledgers).passed


def test_a_test_that_acknowledged_nothing_shows_nothing(history):
    history.learn()
    history.acknowledged = dict.fromkeys(FEEDERS, 0)
    found = history.end()
    assert (found.weights_equal, found.passed) == (True, False)
