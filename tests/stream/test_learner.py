from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from learners import NONE, RULES, RUN, drive, make_config, reopened, same, stream, stream_after, tensors

from ffstream.errors import CheckpointError, ConfigError
from ffstream.ff.flow import flow
from ffstream.ff.lesson import Phase
from ffstream.stream.learner import Learner
from ffstream.stream.phases import Override

ROUNDED = [
    *((rule, "nearest", "float32") for rule in RULES),
    *((rule, rounding, "bfloat16") for rule in RULES[:3] for rounding in ("stochastic", "master")),
]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("coding", ["assembly", "context", "overlay"])
def test_one_seed_and_one_stream_give_the_same_weights_bit_for_bit(coding, rule):
    config = make_config(network={"coding": coding}, optimizer={"rule": rule})
    assert same(drive(Learner(config), stream(), RUN), drive(Learner(config), stream(), RUN))


def test_another_seed_gives_other_weights():
    other = make_config(network={"seed": 6})
    assert not same(drive(Learner(make_config()), stream(), RUN), drive(Learner(other), stream(), RUN))


@pytest.mark.parametrize(("rule", "rounding", "precision"), ROUNDED)
@pytest.mark.parametrize("steps", [0, 2, 4, 5, 7, 11])
def test_a_learner_restored_from_disk_goes_on_bit_for_bit(tmp_path, steps, rule, rounding, precision):
    config = make_config(optimizer={"rule": rule, "rounding": rounding}, network={"precision": precision})
    samples = stream()
    first = drive(Learner(config), samples, steps)
    restored, again = reopened(first, config, tmp_path), stream_after(first)
    drive(first, samples, RUN)
    drive(restored, again, RUN)
    assert same(first, restored)
    assert first.snapshot().manifest == restored.snapshot().manifest
    assert first.version == restored.version == steps + RUN


def test_looking_at_a_learner_changes_nothing_that_it_learns():
    config, seen, unseen = make_config(), stream(), stream()
    watched, left_alone = Learner(config), Learner(config)
    for _ in range(RUN):
        watched.snapshot()
        watched.sign_scores()
        watched.dead_units()
        drive(watched, seen, 1)
        drive(left_alone, unseen, 1)
    assert same(watched, left_alone)


def test_dead_units_are_counted_anew_only_when_the_weights_may_have_moved(monkeypatch):
    samples, learner, counted = stream(), Learner(make_config()), []
    count = learner.network.dead_units
    monkeypatch.setattr(learner.network, "dead_units", lambda rows: counted.append(learner.version) or count(rows))
    for _ in range(2):
        drive(learner, samples, 1)
        assert learner.dead_units() == learner.dead_units()
    snapshot = learner.snapshot()
    drive(learner, samples, 1)
    learner.dead_units()
    learner.restore(snapshot)
    learner.dead_units()
    assert counted == [1, 2, 3, 2]


def test_learning_on_does_not_change_a_snapshot():
    learner, samples = Learner(make_config()), stream()
    snapshot = drive(learner, samples, 3).snapshot()
    before = snapshot.tensors["network"]["0.weight"].clone()
    drive(learner, samples, RUN)
    assert torch.equal(snapshot.tensors["network"]["0.weight"], before)


def test_queries_alone_are_scored_and_teach_nothing():
    learner = drive(Learner(make_config()), stream(), 3)
    before, version = tensors(learner), learner.version
    step = learner.step([], NONE, [np.ones((2, 6), np.float32), np.ones((1, 6), np.uint8)])
    assert step.scores.goodness.shape == (3, 2, 3)
    assert (step.learned, step.replayed, learner.version) == (0, 0, version)
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(learner).items())


def test_queries_beside_samples_change_nothing_that_is_learned():
    asked, unasked = Learner(make_config()), Learner(make_config())
    inputs, labels = next(stream())
    asked.step([inputs], labels, [np.ones((4, 6), np.float32)])
    unasked.step([inputs], labels, [np.zeros((4, 6), np.float32)])
    assert same(asked, unasked)


def test_bytes_are_read_as_shares_of_255():
    learner = Learner(make_config())
    raw = np.arange(6, dtype=np.uint8).reshape(1, 6) * 51
    scores = learner.step([], NONE, [raw, (raw / 255).astype(np.float32)]).scores.goodness
    torch.testing.assert_close(scores[0], scores[1])


def test_sleep_rows_come_from_memory_and_are_not_counted_as_learned():
    learner = drive(Learner(make_config()), stream(), 4)
    remembered, counted = learner.memory.seen, learner.prequential.count
    learner.advance(quiet=False)
    step = learner.step([], NONE, [np.ones((2, 6), np.float32)])
    assert (step.phase, step.learned, step.replayed, len(step.predicted)) == (Phase.SLEEP, 0, 5, 0)
    assert (len(step.scores.total), len(step.scores.goodness)) == (7, 2)
    assert (learner.samples_learned, learner.memory.seen, learner.prequential.count) == (20, remembered, counted)
    assert learner.phase_steps == {Phase.WAKE: 4, Phase.SLEEP: 1, Phase.TOGETHER: 0}


def test_a_held_sleeper_answers_and_learns_nothing():
    learner = drive(Learner(make_config()), stream(), 5)
    learner.scheduler.holding = True
    before = tensors(learner)
    step = learner.step([], NONE, [np.ones((1, 6), np.float32)])
    assert (step.replayed, len(step.scores.goodness)) == (0, 1)
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(learner).items())


def test_it_predicts_a_sample_before_it_learns_it():
    learner, twin = Learner(make_config()), Learner(make_config())
    inputs, labels = next(stream())
    step = learner.step([inputs], labels, [])
    assert step.predicted.tolist() == twin.step([], NONE, [inputs]).scores.labels().tolist()
    assert learner.prequential.correct == (step.predicted == labels).sum()


@pytest.mark.parametrize(("override", "signs"), [(Override.WAKE, {"real"}), (Override.AUTO, {"real", "negative"})])
def test_a_sign_has_scores_once_it_was_learned_from(override, signs):
    # The steps are small, so that no probability becomes 1 in float32.
    learner = Learner(make_config(optimizer={"rate": 5e-3}))
    learner.scheduler.override = override
    assert learner.sign_scores() == {}
    scores = drive(learner, stream(), 6).sign_scores()
    assert scores.keys() == signs
    assert all(0 < p < 1 for sign in scores.values() for p in sign.probability_of_real)
    assert all(len(sign.goodness) == 2 for sign in scores.values())


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ({"network": {"hidden": [12, 11]}}, "hidden"),
        ({"network": {"shape": [7]}}, "shape"),
        ({"network": {"coding": "context"}}, "coding"),
        ({"network": {"precision": "bfloat16"}}, "precision"),
        ({"optimizer": {"rule": "adam"}}, r"optimizer\.rule"),
        ({"optimizer": {"rule": "momentum"}}, r"optimizer\.rule"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused_by_the_name_of_the_key(section, key):
    snapshot = Learner(make_config()).snapshot()
    with pytest.raises(CheckpointError, match=key):
        Learner(make_config(**section)).restore(snapshot)


@pytest.mark.parametrize("wrong", [torch.zeros(3, 3), torch.zeros(1), None], ids=["shape", "broadcastable", "missing"])
def test_a_checkpoint_with_a_wrong_tensor_is_refused_by_the_name_of_the_tensor(wrong):
    learner = Learner(make_config())
    snapshot = learner.snapshot()
    network = {name: tensor for name, tensor in snapshot.tensors["network"].items() if name != "1.weight"}
    if wrong is not None:
        network["1.weight"] = wrong
    damaged = replace(snapshot, tensors={**snapshot.tensors, "network": network})
    with pytest.raises(CheckpointError, match=r"1\.weight"):
        learner.restore(damaged)


def test_a_checkpoint_that_is_refused_has_changed_nothing():
    learner, other = (drive(Learner(make_config()), stream(seed), 5) for seed in (0, 1))
    before = {name: tensor.clone() for name, tensor in tensors(learner).items()}
    snapshot = other.snapshot()
    last = list(snapshot.tensors["network"])[-1]
    network = {**snapshot.tensors["network"], last: torch.zeros(1, 2, 3)}
    with pytest.raises(CheckpointError, match=last):
        learner.restore(replace(snapshot, tensors={**snapshot.tensors, "network": network}))
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(learner).items())


@pytest.mark.parametrize(
    "key", ["network", "rule", "scheduler", "prequential", "phase_steps", "samples_learned", "memory_seen"]
)
@pytest.mark.parametrize("harm", ["missing", "nonsense"])
def test_a_checkpoint_that_lacks_something_is_refused(key, harm):
    learner = Learner(make_config())
    snapshot = learner.snapshot()
    manifest = {name: value for name, value in snapshot.manifest.items() if name != key}
    if harm == "nonsense":
        manifest[key] = "nonsense"
    with pytest.raises(CheckpointError):
        learner.restore(replace(snapshot, manifest=manifest))


def test_a_device_that_is_not_there_is_named_with_its_key():
    with pytest.raises(ConfigError, match=r"engine\.device: 'abacus'"):
        Learner(make_config(engine={"device": "abacus"}))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("schedule", ["alternating", "together"])
def test_a_compiled_learner_learns_as_an_uncompiled_one_does_and_compiles_nothing_while_it_learns(schedule):
    phases = {"schedule": schedule, "wake_steps": 4, "sleep_steps": 3}
    # The steps are small, so that they do not magnify differences of rounding.
    slow = {"rate": 5e-3}
    compiled = Learner(make_config(phases=phases, optimizer=slow, engine={"compile": True}))
    compiled.compile()
    uncompiled = Learner(make_config(phases=phases, optimizer=slow))
    assert compiled.network.flow is not uncompiled.network.flow is flow
    with torch.compiler.set_stance("fail_on_recompile"):
        for learner in (compiled, uncompiled):
            samples = stream()
            drive(learner, samples, RUN)
            inputs, labels = next(samples)
            learner.scheduler.override = Override.WAKE
            learner.advance(quiet=False)
            learner.step([inputs[:1]], labels[:1], [])
            learner.step([inputs[1:2]], labels[1:2], [inputs[2:]])
            learner.step([], NONE, [inputs[:1]])
            learner.step([], NONE, [inputs])
            learner.scheduler.override = Override.SHAM
            drive(learner, samples, 8)
            assert schedule == "together" or learner.scheduler.sham_steps > 0
    found = tensors(compiled)
    for name, tensor in tensors(uncompiled).items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


PRESSED = {"schedule": "homeostatic", "wake_steps": 1, "longest_sleep": 3, "sleep_pressure": 0.5, "wake_pressure": 0.3}


@pytest.mark.parametrize("steps", [1, 3, 6, 9])
def test_a_learner_under_pressure_restored_from_its_state_sleeps_as_the_first_one_does(steps):
    config = make_config(phases=PRESSED, network={"threshold": 0.2})
    samples = stream()
    first, restored = drive(Learner(config), samples, steps), Learner(config)
    again = stream_after(first)
    restored.restore(first.snapshot())
    drive(first, samples, RUN)
    drive(restored, again, RUN)
    assert same(first, restored)
    assert first.snapshot().manifest == restored.snapshot().manifest
    assert first.phase_steps[Phase.SLEEP] > 3
    assert first.pressure == restored.pressure != 0.5


@pytest.mark.parametrize("schedule", ["alternating", "homeostatic"])
def test_pressure_is_felt_and_looking_at_it_changes_nothing(schedule):
    # The steps are small, so that no pressure becomes 0 or 1 in float32.
    slow = {"rate": 5e-3}
    watched, alone = (Learner(make_config(phases={"schedule": schedule}, optimizer=slow)) for _ in range(2))
    seen, unseen, felt = stream(), stream(), set()
    for _ in range(RUN):
        drive(watched, seen, 1)
        watched.feel_pressure()
        felt.add(watched.pressure)
        drive(alone, unseen, 1)
    assert len(felt) == RUN
    assert all(0 < pressure < 1 for pressure in felt)
    assert watched.snapshot().manifest == alone.snapshot().manifest
    assert same(watched, alone)


def test_pressure_before_the_first_step_is_undecided():
    learner = Learner(make_config())
    learner.feel_pressure()
    assert learner.pressure == 0.5
