"""Rollback: what an engine goes back to, what it keeps, and what is refused."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch
from engines import Driven, same

from ffstream.errors import CheckpointError
from ffstream.ff.lesson import Phase
from ffstream.stream.inbox import Command
from ffstream.stream.outbox import Rollback
from ffstream.stream.snapshot import Snapshot


def learn(driven: Driven, count: int = 24, first: int = 0) -> list[torch.Tensor]:
    driven.feed(count, first=first)
    while driven.inbox.samples:
        driven.turn()
    return driven.weights()


def test_a_rollback_brings_back_weights_version_and_scores_and_says_so(driven: Driven) -> None:
    before = learn(driven)
    scores = driven.engine.learner.prequential.state()
    driven.order("checkpoint", "mine")
    assert not same(before, learn(driven, first=24))
    reply = driven.order("rollback", "mine")
    assert same(before, driven.weights())
    assert driven.engine.learner.prequential.state() == scores
    assert (driven.engine.status()["version"], driven.engine.status()["samples_learned"]) == (3, 24)
    assert (reply["from_version"], reply["to_version"]) == (6, 3)
    (said,) = [output for output in driven.outbox.drain() if isinstance(output, Rollback)]
    assert said == Rollback("mine", 6, 3, Phase.TOGETHER)


def test_a_rollback_does_not_take_back_what_feeders_were_told(driven: Driven) -> None:
    learn(driven)
    driven.order("checkpoint", "mine")
    learn(driven, first=24)
    driven.order("rollback", "mine")
    assert driven.engine.progress.learned == {"f": (4, 48)}


def test_a_rollback_leaves_override_and_hold_as_the_operator_has_them(driven: Driven) -> None:
    learn(driven)
    driven.order("checkpoint", "mine")
    driven.order("wake")
    driven.order("hold")
    driven.order("rollback", "mine")
    assert (driven.engine.status()["override"], driven.engine.status()["holding"]) == ("wake", True)


def test_a_rollback_pins_its_target_and_saves_at_once(driven: Driven) -> None:
    learn(driven)
    target = driven.order("checkpoint")["checkpoint"]
    learn(driven, first=24)
    saved = driven.order("rollback", target)["checkpoint"]
    entries = {entry.name: (entry.pinned, entry.manifest["version"]) for entry in driven.engine.store.listing()}
    assert entries == {target: (True, 3), saved: (False, 3)}


@pytest.mark.parametrize("saved", [True, False], ids=["after it saved", "before it saved"])
def test_after_a_crash_the_line_that_was_gone_back_to_goes_on(driven: Driven, tmp_path: Path, saved: bool) -> None:
    learn(driven)
    driven.order("checkpoint", "mine")
    learn(driven, first=24)
    driven.order("checkpoint")
    if not saved:
        # Nothing is written from here on, as if the process had died before.
        driven.engine._keeper.save = lambda *_: completed("checkpoint-lost")
    driven.order("rollback", "mine")
    after = learn(driven, first=48)
    driven.close()
    again = Driven(tmp_path)
    assert same(after, again.weights())
    assert again.engine.learner.version == driven.engine.learner.version == 6
    assert again.engine.progress.learned == {"f": (4, 72)}
    again.close()


def completed(result: str) -> Future[str]:
    done: Future[str] = Future()
    done.set_result(result)
    return done


def test_while_a_checkpoint_is_read_learning_goes_on(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    learn(driven)
    driven.order("checkpoint", "mine")
    slow, read = threading.Event(), driven.engine.store.read

    def read_slowly(name: str) -> Snapshot:
        slow.wait(30)
        return read(name)

    monkeypatch.setattr(driven.engine.store, "read", read_slowly)
    command = Command("rollback", "mine")
    driven.inbox.put_command(command)
    learn(driven, first=24)
    assert driven.engine.learner.version == 6
    slow.set()
    while not command.reply.done():
        driven.turn()
    assert (driven.engine.learner.version, command.reply.result()["from_version"]) == (3, 6)


def harm(directory: Path, how: str) -> str:
    """Make a checkpoint that cannot be gone back to, and return its name."""
    if how == "damaged":
        (directory / "mine" / "memory.safetensors").write_bytes(b"")
    elif how == "of another network":
        elsewhere = directory / "elsewhere"
        elsewhere.mkdir()
        other = Driven(elsewhere, network={"hidden": [12, 12]})
        other.order("checkpoint", "other")
        other.close()
        (elsewhere / "other").rename(directory / "other")
    return {"damaged": "mine", "of another network": "other", "unknown": "nobody"}[how]


@pytest.mark.parametrize(
    ("how", "said"),
    [("unknown", "no checkpoint is called 'nobody'"), ("damaged", "memory"), ("of another network", "hidden")],
)
def test_what_cannot_be_gone_back_to_is_refused_and_nothing_changes(
    driven: Driven, tmp_path: Path, how: str, said: str
) -> None:
    learn(driven)
    driven.order("checkpoint", "mine")
    before = learn(driven, first=24)
    name = harm(tmp_path, how)
    entries = [(entry.name, entry.marked) for entry in driven.engine.store.listing()]
    with pytest.raises(CheckpointError, match=f"not rolled back: {name}: .*{said}"):
        driven.order("rollback", name)
    assert same(before, driven.weights())
    assert driven.engine.learner.version == 6
    assert [(entry.name, entry.marked) for entry in driven.engine.store.listing()] == entries
    assert not same(before, learn(driven, first=48))
