from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ffstream import wire
from ffstream.config import Config, parse
from ffstream.errors import CheckpointError, StateError
from ffstream.ff.lesson import Phase
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.engine import Engine
from ffstream.stream.inbox import Command, Inbox, QueryBatch, SampleBatch
from ffstream.stream.journal import Journal
from ffstream.stream.outbox import Changed, Outbox, Report, Rollback, Saved, Swept
from ffstream.stream.records import Received
from ffstream.stream.snapshot import Snapshot

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
    """An engine without its thread, with what it said."""

    def __init__(self, directory: Path, *, catch_up: bool = True, **sections: dict[str, Any]) -> None:
        self.inbox, self.outbox = Inbox(100, query_bytes=2**20), Outbox(lambda: None)
        store = CheckpointStore(directory, keep=3)
        self.journal = Journal(directory / "journal.sqlite")
        self.engine = Engine(config_of(**sections), store, self.journal, self.inbox, self.outbox)
        if catch_up:
            self.engine.catch_up()
        self.said = self.outbox.drain()

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
        give_up = time.monotonic() + 30
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
        """Run in a thread until what waits is learned, then stop."""
        thread = threading.Thread(target=self.engine.run)
        thread.start()
        while self.inbox.samples:
            time.sleep(0.001)
        self.engine.stop()
        thread.join()


@pytest.fixture
def driven(tmp_path: Path) -> Iterator[Driven]:
    made = Driven(tmp_path)
    yield made
    made.close()


def made(folder: Path) -> Path:
    (folder / "state").mkdir()
    return folder / "state"


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_samples_come_out_acknowledged_up_to_the_next_number(driven: Driven) -> None:
    driven.feed(5, first=20)
    (swept,) = driven.turn()
    assert swept.acknowledged == {"f": (4, 25)}
    assert swept.step.learned == 5


def test_a_large_batch_is_acknowledged_step_by_step(driven: Driven) -> None:
    driven.feed(20)
    assert [swept.acknowledged["f"] for swept in driven.turn(3)] == [(4, 8), (4, 16), (4, 20)]


def test_feeders_are_acknowledged_each_by_itself(driven: Driven) -> None:
    driven.feed(2, "a")
    driven.feed(3, "b", first=7)
    (swept,) = driven.turn()
    assert swept.acknowledged == {"a": (4, 2), "b": (4, 10)}


def test_samples_that_nobody_waits_for_are_learned_and_not_remembered(driven: Driven) -> None:
    driven.feed(4, feeder="")
    (swept,) = driven.turn()
    assert (swept.step.learned, swept.acknowledged) == (4, {"": (4, 4)})
    assert driven.engine.progress.learned == {}


def test_each_query_gets_the_scores_of_its_own_rows(driven: Driven) -> None:
    driven.feed(3)
    for token, rows in (("a", 2), ("b", 1)):
        driven.ask(rows, token)
    (swept,) = driven.turn()
    assert [(answer.query.token, len(answer.labels)) for answer in swept.answers] == [("a", 2), ("b", 1)]
    asked = np.concatenate([answer.goodness for answer in swept.answers])
    assert np.array_equal(asked, swept.step.scores.goodness.numpy())


def test_an_answer_is_consistent_within_itself(driven: Driven) -> None:
    driven.ask(4)
    ((answer,),) = [swept.answers for swept in driven.turn()]
    assert answer.goodness.shape == (4, 2, 3)
    assert np.allclose(answer.probabilities.sum(1), 1)
    assert np.array_equal(answer.probabilities.argmax(1), answer.labels)


def test_queries_alone_change_no_weight(driven: Driven) -> None:
    before = driven.weights()
    driven.ask(4)
    driven.turn()
    assert same(before, driven.weights())


def test_an_expired_query_is_reported_and_not_answered(driven: Driven) -> None:
    driven.ask(2, "late", deadline=time.monotonic() - 1)
    driven.ask(2, "in time", deadline=time.monotonic() + 1e6)
    (swept,) = driven.turn()
    assert [query.token for query in swept.expired] == ["late"]
    assert [answer.query.token for answer in swept.answers] == ["in time"]


def test_expired_queries_alone_are_reported(driven: Driven) -> None:
    driven.ask(2, "late", deadline=0)
    (swept,) = driven.turn()
    assert (swept.answers, [query.token for query in swept.expired]) == ([], ["late"])


def test_a_turn_without_work_says_nothing(driven: Driven) -> None:
    assert driven.turn() == []


def test_a_nap_is_announced_and_slept_without_new_samples(tmp_path: Path) -> None:
    driven = Driven(tmp_path, phases={"schedule": "alternating", "wake_steps": 1, "sleep_steps": 2, "quiet_ms": 1e6})
    driven.feed(24)
    said = driven.turn(4)
    changes = [output.change.phase for output in said if isinstance(output, Changed)]
    steps = [(o.step.phase, o.step.learned, o.step.replayed) for o in said if isinstance(o, Swept)]
    assert changes == [Phase.SLEEP, Phase.WAKE]
    assert steps == [(Phase.WAKE, 8, 0), (Phase.SLEEP, 0, 8), (Phase.SLEEP, 0, 8), (Phase.WAKE, 8, 0)]


@pytest.mark.parametrize("phase", [Phase.WAKE, Phase.SLEEP])
def test_a_commanded_phase_is_taken_up(driven: Driven, phase: Phase) -> None:
    driven.feed(8)
    driven.turn()
    driven.order(phase.value)
    driven.feed(8)
    assert driven.turn()[-1].step.phase is phase


def test_auto_gives_the_schedule_its_say_again(driven: Driven) -> None:
    driven.order("wake")
    driven.order("auto")
    driven.feed(8)
    assert driven.turn()[-1].step.phase is Phase.TOGETHER


def test_while_held_queries_are_answered_and_nothing_is_learned(driven: Driven) -> None:
    driven.order("hold")
    driven.feed(8)
    driven.ask(2)
    (swept,) = driven.turn()
    assert (len(swept.answers), swept.step.learned, driven.inbox.samples) == (1, 0, 8)


def test_after_resume_what_waited_is_learned(driven: Driven) -> None:
    driven.order("hold")
    driven.feed(8)
    driven.order("resume")
    assert driven.turn()[-1].acknowledged == {"f": (4, 8)}


def test_a_checkpoint_command_is_answered_with_its_name(driven: Driven, tmp_path: Path) -> None:
    reply = driven.order("checkpoint")
    assert (tmp_path / reply["checkpoint"] / "manifest.json").exists()


def test_a_checkpoint_that_cannot_be_written_fails_its_command_and_is_announced(tmp_path: Path) -> None:
    driven = Driven(state := made(tmp_path))
    shutil.rmtree(state)
    with pytest.raises(StateError, match="not saved"):
        driven.order("checkpoint")
    driven.engine._keeper.close()
    assert [output.error[:9] for output in driven.turn() if isinstance(output, Saved)] == ["not saved"]


def test_status_counts_what_was_learned(driven: Driven) -> None:
    driven.feed(20)
    driven.turn(2)
    status = driven.engine.status()
    assert (status["version"], status["samples_learned"], status["samples_waiting"]) == (2, 16, 4)


def test_scores_are_reported_when_they_are_due(tmp_path: Path) -> None:
    driven = Driven(tmp_path, engine={"report_ms": 1e-6})
    driven.feed(8)
    (report,) = [output for output in driven.turn() if isinstance(output, Report)]
    assert (report.samples_learned, set(report.signs), len(report.weight_norm)) == (8, {"real", "negative"}, 2)


def test_a_checkpoint_is_saved_when_it_is_due(tmp_path: Path) -> None:
    driven = Driven(tmp_path, state={"checkpoint_s": 1e-6})
    driven.feed(8)
    driven.turn()
    driven.engine._keeper.close()
    assert [output.name for output in driven.outbox.drain() if isinstance(output, Saved)] == ["checkpoint-000001"]


def test_stopping_saves_what_was_learned(driven: Driven, tmp_path: Path) -> None:
    driven.feed(24)
    driven.run()
    snapshot, _ = CheckpointStore(tmp_path, keep=3).newest()
    assert snapshot is not None
    assert (driven.engine.failure, snapshot.manifest["samples_learned"]) == (None, 24)


def test_a_restarted_engine_goes_on_with_the_same_weights_and_feeders(driven: Driven, tmp_path: Path) -> None:
    driven.feed(10, "a")
    driven.feed(6, "b", first=30)
    driven.run()
    again = Driven(tmp_path)
    assert again.engine.progress.learned == {"a": (4, 10), "b": (4, 36)}
    assert same(driven.weights(), again.weights())


def test_beyond_the_limit_the_feeder_learned_from_longest_ago_is_forgotten(tmp_path: Path) -> None:
    driven = Driven(tmp_path, server={"feeders": 2})
    for name in ("a", "b", "a", "c"):
        driven.feed(1, name)
        driven.turn()
    assert list(driven.engine.progress.learned) == ["a", "c"]


def test_a_state_that_cannot_be_saved_at_the_end_is_a_failure(tmp_path: Path) -> None:
    driven = Driven(state := made(tmp_path))
    shutil.rmtree(state)
    driven.run()
    assert isinstance(driven.engine.failure, StateError)


def test_what_breaks_a_turn_ends_the_engine_and_is_kept(driven: Driven, caplog: pytest.LogCaptureFixture) -> None:
    driven.take_in(SampleBatch(np.zeros((2, 5)), np.zeros(2, np.int64)))
    driven.engine.run()
    assert isinstance(driven.engine.failure, ValueError)
    assert "the engine stopped" in caplog.text


def test_weights_that_are_not_finite_are_not_saved(driven: Driven, tmp_path: Path) -> None:
    driven.engine.learner.network.layers[0].weight.fill_(float("nan"))
    with pytest.raises(CheckpointError, match=r"network\.0\.weight is not finite"):
        driven.order("checkpoint")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(("journal.sqlite", "attempt"))] == []


def test_a_checkpoint_of_another_network_keeps_the_engine_from_starting(driven: Driven, tmp_path: Path) -> None:
    driven.order("checkpoint")
    driven.close()
    with pytest.raises(CheckpointError, match=r"network.*hidden"):
        Driven(tmp_path, network={"hidden": [12, 12]})


def test_a_damaged_checkpoint_is_told_and_the_engine_starts_afresh(driven: Driven, tmp_path: Path) -> None:
    name = driven.order("checkpoint")["checkpoint"]
    (tmp_path / name / "network.safetensors").write_bytes(b"")
    driven.close()
    again = Driven(tmp_path)
    assert again.engine.learner.version == 0
    assert [name in reason for reason in again.engine.damaged] == [True]


# --- going back ---


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


def test_the_listing_is_newest_first_and_bounded(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ffstream.stream.keeper.LISTED", 2)
    for name in ("a", "b", "c"):
        driven.order("checkpoint", name)
    reply = driven.order("checkpoints")
    assert ([one["name"] for one in reply["checkpoints"]], reply["omitted"]) == (["c", "b"], 1)


def test_a_full_listing_fits_a_header(driven: Driven) -> None:
    for number in range(70):
        folder = driven.engine.store.directory / f"{number:03d}{'x' * 61}"
        folder.mkdir()
        (folder / "manifest.json").touch()
    reply = driven.order("checkpoints")
    assert len(reply["checkpoints"]) == 64
    (header,) = wire.encode("reply", {"id": 2**63 - 1, **reply, **driven.engine.status()})
    assert len(header) < wire.HEADER_BYTES * 3 / 4


def test_pinning_is_a_command(driven: Driven) -> None:
    name = driven.order("checkpoint")["checkpoint"]
    for order, pinned in (("pin", True), ("unpin", False)):
        assert driven.order(order, name) == {"checkpoint": name, "pinned": pinned}
        assert [entry.pinned for entry in driven.engine.store.listing()] == [pinned]


def test_saving_changes_nothing(tmp_path: Path) -> None:
    weights = []
    for folder, checkpoint_s in (("never", 1e6), ("always", 1e-6)):
        (tmp_path / folder).mkdir()
        driven = Driven(tmp_path / folder, state={"checkpoint_s": checkpoint_s}, phases={"schedule": "alternating"})
        draws = np.random.default_rng(1)
        for first in range(0, 64, 8):
            driven.take_in(SampleBatch(draws.random((8, 6), np.float32), draws.integers(0, 3, 8), "f", 4, first))
        while driven.inbox.samples:
            driven.turn()
        driven.close()
        weights.append((driven.engine.learner.version, driven.weights()))
        assert len(driven.engine.store.listing()) == (0 if folder == "never" else 3)
    assert weights[0][0] == weights[1][0] > 8
    assert same(weights[0][1], weights[1][1])
