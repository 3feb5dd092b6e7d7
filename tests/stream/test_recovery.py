"""What a journal is for: after a crash the same weights, bit for bit, and every sample learned once."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engines import Driven, made, same

from ffstream.errors import CatchingUp, JournalError
from ffstream.ff import dreams
from ffstream.stream.inbox import Command
from ffstream.stream.journal import Journal
from ffstream.stream.outbox import CaughtUp, Changed, SetAside, Swept
from ffstream.stream.records import Commanded, Stepped

NAPS = {"phases": {"schedule": "alternating", "wake_steps": 2, "sleep_steps": 2, "quiet_ms": 5}}
DREAMS = {**NAPS, "dreams": {"source": "dream"}, "engine": {"memory_samples": 0}}
HYBRID = {**NAPS, "dreams": {"source": "hybrid", "rounds": 1}}


def died(driven: Driven, folder: Path) -> Path:
    """Return a copy of the state as a kill would leave it, everything appended being on disk."""
    driven.journal.wait(driven.journal._next - 1)
    shutil.copytree(driven.engine.store.directory, folder)
    driven.close()
    return folder


def whole(driven: Driven) -> dict[str, Any]:
    """Return everything that goes on after a restart."""
    snapshot = driven.engine.learner.snapshot()
    tensors = {f"{file}.{name}": t for file, named in snapshot.tensors.items() for name, t in named.items()}
    return {"version": snapshot.version, **snapshot.manifest, **tensors}


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


QUIET = {"phases": {"schedule": "quiet", "quiet_ms": 5}}
PRESSED = {"schedule": "homeostatic", "wake_steps": 1, "sleep_pressure": 0.5, "wake_pressure": 0.45, "longest_sleep": 3}


@pytest.mark.parametrize(
    "sections",
    [
        NAPS,
        {},
        {"network": {"shape": [6], "labels": 3, "precision": "bfloat16"}},
        QUIET,
        {"phases": PRESSED, "network": {"shape": [6], "labels": 3, "threshold": 0.1}},
        DREAMS,
        HYBRID,
    ],
)
def test_a_replay_gives_everything_back_bit_for_bit(
    tmp_path: Path, sections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dreams, "RIPE", 8)
    driven = Driven(made(tmp_path), **sections)
    for size in (8, 3, 8, 1, 20, 5):
        driven.feed(size)
        driven.ask(size % 4 + 1)
        driven.turn(4)
    before = whole(driven)
    again = Driven(died(driven, tmp_path / "copy"), **sections)
    assert before["version"] > 6
    assert equal(before, whole(again))


@pytest.mark.parametrize("sections", [NAPS, DREAMS])
def test_a_replay_from_a_checkpoint_in_between_gives_the_same(
    tmp_path: Path, sections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dreams, "RIPE", 8)
    driven = Driven(made(tmp_path), **sections)
    for turn in range(12):
        driven.feed(7)
        driven.turn(2)
        if turn in (3, 7):
            driven.order("checkpoint")
    before = whole(driven)
    assert before["phase_steps"]["sleep"] > 4
    again = Driven(died(driven, tmp_path / "copy"), **sections)
    assert equal(before, whole(again))
    (caught_up,) = [output for output in again.said if isinstance(output, CaughtUp)]
    assert caught_up.records < driven.journal.durable


def test_saving_changes_nothing(tmp_path: Path) -> None:
    lives = []
    for saves in (False, True):
        (folder := tmp_path / str(saves)).mkdir()
        driven = Driven(folder)
        random = np.random.default_rng(3)
        for _ in range(10):
            inputs, labels = random.random((7, 6), np.float32), random.integers(0, 3, 7)
            driven.take_in(driven.batch(inputs, labels))
            driven.turn(2)
            if saves:
                driven.order("checkpoint")
            else:
                driven.turn()
        lives.append(whole(driven))
        driven.close()
    assert equal(*lives)


def test_commands_are_obeyed_again_where_they_were_given(tmp_path: Path) -> None:
    driven = Driven(made(tmp_path), **NAPS)
    for command in ("wake", "auto", "sleep", "auto", "hold"):
        driven.feed(16)
        driven.turn(3)
        driven.order(command)
    before = whole(driven)
    again = Driven(died(driven, tmp_path / "copy"), **NAPS)
    assert again.engine.learner.scheduler.holding
    assert equal(before, whole(again))


@pytest.mark.parametrize("sections", [NAPS, QUIET])
def test_sham_sleep_is_slept_again_with_the_same_draws_and_changes_nothing(tmp_path: Path, sections: Any) -> None:
    driven = Driven(made(tmp_path), **sections)
    driven.feed(16)
    driven.turn(2)
    driven.order("sham")
    learner = driven.engine.learner
    for _ in range(4):
        driven.feed(8)
        driven.turn(2)
        time.sleep(0.006)
        driven.turn(3)
    assert learner.version + learner.scheduler.sham_steps == sum(learner.phase_steps.values())
    assert learner.scheduler.sham_steps > 3
    before, shown = whole(driven), learner._shown["negative"][0]
    again = Driven(died(driven, tmp_path / "copy"), **sections)
    assert equal(before, whole(again))
    assert torch.equal(again.engine.learner._shown["negative"][0], shown)


def test_a_replay_at_another_time_of_day_sleeps_as_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"phases": {"schedule": "clock", "sleep_from": "23:00", "sleep_until": "07:00", "quiet_ms": 5}}
    driven = Driven(made(tmp_path), **clock)
    reasons = []
    for hour in (12, 13, 14, 23, 8, 23, 2, 2, 2, 2, 12):
        monkeypatch.setattr(time, "localtime", lambda hour=hour: time.struct_time((2026, 1, 1, hour, 0, 0, 3, 1, 0)))
        driven.feed(30)
        reasons += [said.change.reason for said in driven.turn(5) if isinstance(said, Changed)]
    assert reasons[:4] == ["clock", "clock", "clock", "rested"]
    before = whole(driven)
    assert equal(before, whole(Driven(died(driven, tmp_path / "copy"), **clock)))


def test_what_was_taken_in_and_not_learned_is_next_in_line(tmp_path: Path) -> None:
    driven = Driven(made(tmp_path))
    driven.feed(20, "a", first=5)
    driven.turn()
    again = Driven(died(driven, tmp_path / "copy"))
    assert again.inbox.samples == 12
    (caught_up,) = [output for output in again.said if isinstance(output, CaughtUp)]
    assert caught_up.feeders == {"a": (4, 13, 25)}
    (swept,) = again.turn()
    assert swept.acknowledged == {"a": (4, 21)}


def test_a_checkpoint_remembers_what_was_in_line(tmp_path: Path) -> None:
    driven = Driven(made(tmp_path))
    driven.feed(20, "a", first=5)
    driven.turn()
    driven.order("checkpoint")
    driven.turn(1)
    again = Driven(died(driven, tmp_path / "copy"))
    assert again.engine.learner.samples_learned == driven.engine.learner.samples_learned
    assert again.inbox.samples == driven.inbox.samples


def test_queries_are_answered_while_the_journal_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A record a turn, however fast the machine.
    monkeypatch.setattr("ffstream.stream.engine.REPLAY_S", 0.0)
    driven = Driven(made(tmp_path))
    driven.feed(64)
    driven.turn(8)
    state = died(driven, tmp_path / "copy")
    again = Driven(state, catch_up=False)
    again.ask(2)
    command = Command("sleep")
    again.inbox.put_command(command)
    again.catch_up()
    said = again.outbox.drain()
    (swept,) = [output for output in said if isinstance(output, Swept)]
    assert swept.catching_up
    assert (len(swept.answers), swept.step.learned) == (1, 0)
    assert isinstance(command.reply.exception(timeout=1), CatchingUp)
    assert same(driven.weights(), again.weights())


def test_a_journal_that_ends_before_the_checkpoint_is_refused(tmp_path: Path) -> None:
    driven = Driven(made(tmp_path))
    driven.feed(64)
    driven.turn(4)
    early = tmp_path / "early"
    driven.journal.wait(driven.journal._next - 1)
    shutil.copytree(driven.engine.store.directory, early)
    driven.turn(4)
    driven.order("checkpoint")
    state = died(driven, tmp_path / "copy")
    for file in state.glob("journal*"):
        file.unlink()
    for file in early.glob("journal*"):
        shutil.copy(file, state)
    with pytest.raises(JournalError, match="ends at record"):
        Driven(state)


def test_without_its_journal_a_checkpoint_goes_on_by_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    driven = Driven(made(tmp_path))
    driven.feed(8)
    driven.turn()
    driven.order("checkpoint")
    state = died(driven, tmp_path / "copy")
    for file in state.glob("journal*"):
        file.unlink()
    again = Driven(state)
    assert "without the journal" in caplog.text
    again.feed(8, first=8)
    again.turn()
    again.order("checkpoint")
    before = whole(again)
    assert equal(before, whole(Driven(died(again, tmp_path / "third"))))


@pytest.mark.parametrize("record", [Stepped(5, 0, 0), Stepped(0, 3, 0)])
def test_a_record_that_does_not_follow_is_named(tmp_path: Path, record: Stepped) -> None:
    journal = Journal(made(tmp_path) / "journal.sqlite")
    journal.append(Commanded("wake"))
    journal.append(record)
    journal.close()
    with pytest.raises(JournalError, match="record 2 does not follow"):
        Driven(tmp_path / "state")


# --- a sample that ends the daemon ---


def killed_while_learning(driven: Driven, folder: Path, count: int) -> Path:
    """Die within the step that has the next samples in line."""
    first = driven.inbox.line()[0]
    driven.engine.life.attempt.begin(first.place, (first.lsn, first.offset + count - 1))
    return died(driven, folder)


def test_a_sample_that_dies_twice_alone_is_set_aside_and_the_others_are_learned(tmp_path: Path) -> None:
    driven = Driven(made(tmp_path))
    driven.feed(20, "a", first=5)
    # It dies within a step of eight; then those eight are learned one by one, until the third of them ends it.
    driven = Driven(killed_while_learning(driven, tmp_path / "2", 8))
    assert [swept.step.learned for swept in driven.turn(2)] == [1, 1]
    driven = Driven(killed_while_learning(driven, tmp_path / "3", 1))
    assert driven.engine.life.attempt.condemned is None
    driven = Driven(killed_while_learning(driven, tmp_path / "4", 1))
    aside, *swept = driven.turn()
    assert isinstance(aside, SetAside)
    assert [each.step.learned for each in swept] == [8]
    assert (aside.feeder, aside.epoch, aside.sample) == ("a", 4, 7)
    kept = np.load(tmp_path / "4" / aside.file)
    assert kept["inputs"].shape == (1, 6)
    assert [swept.step.learned for swept in driven.turn(2)] == [8, 1]
    assert driven.engine.progress.learned == {"a": (4, 25)}
    before = whole(driven)
    assert before["samples_learned"] == 19
    again = Driven(died(driven, tmp_path / "5"))
    assert equal(before, whole(again))


def test_samples_before_a_suspect_are_learned_alone_as_well(tmp_path: Path) -> None:
    driven = Driven(made(tmp_path))
    driven.feed(20, "a")
    first = driven.inbox.line()[0]
    # The steps of the two samples before it were not on disk when it died alone, so they are to be made again.
    driven.engine.life.attempt.begin((first.lsn, 2), (first.lsn, 2))
    driven = Driven(died(driven, tmp_path / "2"))
    assert [swept.step.learned for swept in driven.turn(4)] == [1, 1, 1, 8]


def test_a_death_between_steps_suspects_nobody(tmp_path: Path) -> None:
    driven = Driven(made(tmp_path))
    driven.feed(8)
    driven.turn()
    again = Driven(died(driven, tmp_path / "2"))
    assert not again.engine.life.attempt.suspects((1, 0))
    assert again.engine.life.attempt.condemned is None


def test_deaths_on_different_samples_condemn_neither(tmp_path: Path) -> None:
    driven = Driven(made(tmp_path))
    driven.feed(8)
    driven = Driven(killed_while_learning(driven, tmp_path / "2", 1))
    driven.turn()
    driven = Driven(killed_while_learning(driven, tmp_path / "3", 1))
    assert driven.engine.life.attempt.condemned is None


def test_a_sample_whose_step_is_on_disk_is_not_condemned(tmp_path: Path) -> None:
    driven = Driven(made(tmp_path))
    driven.feed(1)
    for folder in ("2", "3"):
        line = driven.inbox.line()
        front = (line[0].lsn, 0) if line else (1, 0)
        driven.turn()
        driven.engine.life.attempt.begin(front, front)
        driven = Driven(died(driven, tmp_path / folder))
    assert driven.engine.life.attempt.condemned == (1, 0)
    assert driven.turn() == []
    assert driven.engine.learner.samples_learned == 1
