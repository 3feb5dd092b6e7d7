from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from ffstream.data import datasets
from ffstream.errors import ConfigError
from ffstream.experiments import dreams
from ffstream.experiments.dreams import EACH, SOURCES, Plan, live, measure, reader, table
from ffstream.measuring.lives import ForwardLife


@pytest.fixture(scope="module")
def plan():
    return Plan(datasets.load("digits", Path()), "64-40-40", 16, 1, compiled=False, device="cpu")


def test_a_row_a_source_and_seed(plan, monkeypatch):
    learners = []

    class Kept(ForwardLife):
        def __init__(self, config):
            super().__init__(config)
            learners.append(self.learner)

    monkeypatch.setattr(dreams, "ForwardLife", Kept)
    few = replace(plan, data=replace(plan.data, train=tuple(part[:400] for part in plan.data.train)), seeds=2)
    lived = []
    rows = list(measure(few, lambda: lived.append(1)))
    assert len(lived) == few.total
    assert [(row.source, row.seed) for row in rows] == [(source, seed) for seed in (0, 1) for source in SOURCES]
    assert [(len(learner.memory), learner.config.network.seed) for learner in learners] == [
        (0 if source == "dream" else 400, seed) for seed in (0, 1) for source in SOURCES
    ]
    for row in rows:
        assert (row.read_as_intended is None) == (row.source == "memory")
        assert row.memory == SOURCES[row.source]
    lines = table([asdict(row) for row in rows])
    assert [line["sleep on"] for line in lines] == list(SOURCES)
    assert lines[0]["classes among them"] == "–"
    assert "±" in lines[2]["dreams read as intended, %"]


def test_dreams_teach_about_as_much_as_what_is_remembered_and_can_be_read(plan):
    read = reader(*plan.data.train)
    memory, dream = (live(plan, source, SOURCES[source], 0, read) for source in ("memory", "dream"))
    assert dream.test_accuracy > memory.test_accuracy - 0.08
    assert dream.test_accuracy > 0.8
    assert dream.read_as_intended > 0.5
    assert dream.classes_present == 10


def test_the_reader_reads_real_images_and_knows_noise_for_nothing(plan):
    inputs, labels = plan.data.test
    read = reader(*plan.data.train)
    assert (read(inputs.reshape(len(inputs), -1) / 255) == labels).mean() > 0.85
    noise = np.random.default_rng(0).random((10 * EACH, 64))
    assert (read(noise) == np.arange(10).repeat(EACH)).mean() < 0.3


def test_a_net_that_does_not_fit_the_images_is_refused(plan):
    with pytest.raises(ConfigError, match="a sample has 64 values"):
        next(measure(replace(plan, net="784-40"), lambda: None))
