"""Sleep on dreams: where it takes its rows, what it keeps, and what it says of its dreams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engines import Driven
from learners import NONE, RUN, drive, make_config, reopened, same, stream, stream_after

from ffstream.ff import dreams
from ffstream.ff.lesson import Phase
from ffstream.stream.checkpoint import CheckpointStore
from ffstream.stream.learner import Learner
from ffstream.stream.outbox import Dreamed

DREAM = {"dreams": {"source": "dream"}, "engine": {"device": "cpu", "max_batch": 8, "memory_samples": 0}}
HYBRID = {"dreams": {"source": "hybrid"}}
NOBODY = {"coding": "none", "negatives": "shuffled", "readout": "all", "prediction": "readout"}


@pytest.fixture(autouse=True)
def _ripe_early(monkeypatch):
    monkeypatch.setattr(dreams, "RIPE", 10)


def nap(learner: Learner) -> Any:
    """Live on until a sleep step is done, and return it."""
    samples = stream()
    for _ in range(RUN):
        learner.advance(quiet=False)
        if learner.asleep:
            return learner.step([], NONE, [np.zeros((2, 6), np.float32)])
        inputs, labels = next(samples)
        learner.step([inputs], labels, [])
    raise AssertionError("it never slept")


@pytest.mark.parametrize(
    ("sections", "replayed", "dreamed"), [({}, 5, 0), (DREAM, 0, 5), (HYBRID, 2, 3)], ids=["memory", "dream", "hybrid"]
)
def test_sleep_takes_its_rows_from_the_source(sections, replayed, dreamed):
    step = nap(Learner(make_config(**sections)))
    assert (step.learned, step.replayed, step.dreamed) == (0, replayed, dreamed)
    assert step.phase is Phase.SLEEP
    assert len(step.scores.total) == 5 + 2


def test_on_dreams_alone_no_sample_is_kept(tmp_path):
    learner = drive(Learner(make_config(**DREAM)), stream(), RUN)
    assert learner.phase_steps[Phase.SLEEP] > 6
    assert len(learner.memory) == 0
    snapshot = learner.snapshot()
    CheckpointStore(tmp_path, keep=1).save(snapshot)
    assert {name: len(tensor) for name, tensor in snapshot.tensors["memory"].items()} == {"rows": 0, "labels": 0}
    assert sum(learner.dead_units()) < 22


def test_it_does_not_sleep_before_there_is_enough_to_dream_of(monkeypatch):
    monkeypatch.setattr(dreams, "RIPE", 50)
    learner, samples = Learner(make_config(**DREAM)), stream()
    learner.scheduler.obey("sleep")
    drive(learner, samples, 9)
    assert learner.phase_steps[Phase.SLEEP] == 0
    assert learner.dead_units() == [0, 0]
    drive(learner, samples, 4)
    assert learner.phase_steps[Phase.SLEEP] > 0


@pytest.mark.parametrize("sections", [DREAM, HYBRID, {**DREAM, "network": NOBODY}, {**HYBRID, "network": NOBODY}])
@pytest.mark.parametrize("steps", [3, 11])
def test_a_learner_with_dreams_goes_on_bit_for_bit_from_disk(tmp_path, sections, steps):
    config = make_config(**sections)
    samples = stream()
    first = drive(Learner(config), samples, steps)
    restored, again = reopened(first, config, tmp_path), stream_after(first)
    for _ in range(RUN):
        first.dream(np.zeros(1, np.int64))
        first.dead_units()
        drive(first, samples, 1)
    drive(restored, again, RUN)
    assert same(first, restored)
    assert first.phase_steps[Phase.SLEEP] > 3


def test_dreams_begin_anew_where_a_checkpoint_has_none():
    before = drive(Learner(make_config()), stream(), RUN).snapshot()
    learner = drive(Learner(make_config(**HYBRID)), stream(), RUN)
    learner.roll_back(before)
    assert learner.network.dreams is not None
    assert not any(tensor.any() for tensor in learner.network.dreams.state().values())
    assert torch.equal(learner.network.layers[0].weight, before.tensors["network"]["0.weight"])
    drive(learner, stream(), RUN)
    assert learner.network.dreams.ripe


def test_a_checkpoint_with_dreams_opens_where_they_are_no_longer_wanted():
    snapshot = drive(Learner(make_config(**HYBRID)), stream(), RUN).snapshot()
    learner = Learner(make_config())
    learner.restore(snapshot)
    assert learner.version == RUN


def test_the_engine_publishes_a_dream_beside_every_report_of_the_labels_in_turn(tmp_path: Path):
    sections = {**DREAM, "phases": {"schedule": "alternating", "wake_steps": 2, "sleep_steps": 2, "quiet_ms": 5}}
    sections["engine"] = {**sections["engine"], "report_ms": 1e-6}
    driven = Driven(tmp_path, **sections)
    driven.turn()
    assert not [output for output in driven.turn() if isinstance(output, Dreamed)]
    driven.feed(40)
    told = [output for output in driven.turn(20) if isinstance(output, Dreamed)]
    assert len(told) > 6
    assert [one.label for one in told[-6:]] in ([0, 1, 2] * 2, [1, 2, 0] * 2, [2, 0, 1] * 2)
    for one in told:
        assert one.image.shape == (6,)
        assert len(one.goodness) == 2
        assert 0 <= one.predicted < 3
    driven.close()
