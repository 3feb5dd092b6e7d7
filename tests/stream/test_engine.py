from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from engines import Driven, made, same

from ffstream.errors import CheckpointError, StateError
from ffstream.ff.lesson import Phase
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.engine import BESIDE_QUERIES
from ffstream.stream.inbox import SampleBatch
from ffstream.stream.outbox import Changed, Report, Saved, Swept


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
    with pytest.raises(StateError, match="not saved"):
        driven.run()


def test_what_breaks_a_turn_ends_the_engine_and_is_kept(driven: Driven, caplog: pytest.LogCaptureFixture) -> None:
    driven.take_in(SampleBatch(np.zeros((2, 5)), np.zeros(2, np.int64)))
    with pytest.raises(ValueError, match="shape"):
        driven.engine.turn()
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


def test_an_engine_with_nothing_to_do_may_be_left_alone_until_the_stream_counts_as_silent(driven: Driven) -> None:
    assert driven.engine.wait_s == pytest.approx(0.01)
    driven.order("hold")
    driven.feed(8)
    assert driven.engine.wait_s == pytest.approx(0.01)


@pytest.mark.parametrize("what", ["samples", "query", "sleep"])
def test_an_engine_with_something_to_do_is_not_kept_waiting(driven: Driven, what: str) -> None:
    driven.feed(8)
    driven.turn()
    assert driven.engine.wait_s > 0
    match what:
        case "samples":
            driven.feed(1, first=8)
        case "query":
            driven.ask(1)
        case "sleep":
            driven.order("sleep")
    assert driven.engine.wait_s == 0


def test_samples_alone_wait_a_little_for_their_batch_to_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driven = Driven(tmp_path, engine={"max_wait_ms": 60})
    driven.feed(3)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert driven.turn() == []
    assert driven.engine.wait_s == pytest.approx(0.06)
    now += 0.059
    assert driven.turn() == []
    now += 0.002
    (swept,) = driven.turn()
    assert swept.step.learned == 3


@pytest.mark.parametrize("what", ["a full batch", "a query"])
def test_a_wait_for_a_full_batch_ends_with(tmp_path: Path, what: str) -> None:
    driven = Driven(tmp_path, engine={"max_wait_ms": 1e6})
    driven.feed(3)
    assert driven.turn() == []
    if what == "a query":
        driven.ask(1)
    else:
        driven.feed(5, first=3)
    (swept,) = driven.turn()
    assert swept.step.learned == (3 if what == "a query" else 8)


def test_what_waits_for_the_disk_does_not_keep_the_loop_busy(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    driven.feed(8)
    monkeypatch.setattr("ffstream.stream.engine.AHEAD", -1)
    assert driven.turn() == []
    assert driven.engine.wait_s > 0


def test_queries_are_filled_up_and_answered_as_if_they_were_not(driven: Driven) -> None:
    driven.feed(8)
    driven.turn()
    driven.ask(11)
    (swept,) = driven.turn()
    (answer,) = swept.answers
    assert len(swept.step.scores.evidence) == len(swept.step.scores.goodness) == 11
    rows = answer.query.inputs.reshape(11, -1)
    alone = driven.engine.learner.network.sweep(torch.from_numpy(rows))
    assert np.allclose(answer.goodness, alone.goodness.numpy(), rtol=1e-5, atol=1e-6)


def test_whoever_asks_waits_for_few_samples(tmp_path: Path) -> None:
    driven = Driven(tmp_path, engine={"max_batch": 40, "max_wait_ms": 0})
    driven.feed(200)
    driven.ask(1)
    first, second = driven.turn(2)
    assert (first.step.learned, len(first.answers)) == (BESIDE_QUERIES, 1)
    assert (second.step.learned, len(second.answers)) == (40, 0)
    driven.engine.close()


def test_asleep_whoever_asks_is_answered_without_waiting_for_a_step_and_keeps_it_from_every_other_one(
    driven: Driven,
) -> None:
    driven.feed(8)
    driven.turn()
    driven.order("sleep")
    driven.turn()
    found = []
    for _ in range(4):
        driven.ask(1)
        (swept,) = driven.turn()
        assert len(swept.answers) == 1
        found.append(swept.step.replayed > 0)
    (swept,) = driven.turn()
    assert (found, swept.step.replayed > 0) == ([False, True, False, True], True)
