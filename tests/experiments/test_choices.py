from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_row import Noting

from ffstream.data import datasets
from ffstream.errors import ConfigError
from ffstream.experiments import choices, figures
from ffstream.experiments.choices import Plan, held_out, known, measure, table

KEYS = ("coding", "negatives")


@pytest.fixture
def plan(tmp_path):
    data = datasets.load("digits", Path())
    small = replace(data, train=(data.train[0][:300], data.train[1][:300]))
    return Plan(
        keys=KEYS,
        choices=(("assembly",), ("belief", "uniform")),
        passes=(1, 2),
        rates=(1e-6, 2e-3),
        thresholds=(),
        seeds=1,
        data=small,
        dataset="digits",
        batch=64,
        runs=tmp_path,
        device=torch.device("cpu"),
    )


def test_the_names_are_those_of_the_configuration():
    assert known("coding")[0] == "assembly"
    assert {"context", "overlay"} <= set(known("coding"))


@pytest.mark.parametrize("key", ["nothing", "seed", "shape"])
def test_a_key_without_names_is_refused(key):
    with pytest.raises(ConfigError, match=f"network.{key}"):
        known(key)


def test_every_choice_meets_every_other_after_each_number_of_passes(plan):
    heard = Noting()
    *_, rows = measure(plan, heard)
    assert [(row["passes"], row["coding"], row["negatives"]) for row in rows] == plan.cells
    assert len(plan.cells) == 4
    assert len(heard.runs) == plan.total
    assert max(row["test_accuracy"] for row in rows) > 0.6


def test_a_cell_keeps_the_rate_that_does_best_on_held_out_training_images(plan):
    *_, rows = measure(replace(plan, choices=(("assembly",), ("belief",)), passes=(2,)), Noting())
    assert [row["rate"] for row in rows] == [2e-3]


def test_thresholds_are_tried_with_each_rate(plan):
    tried = replace(plan, choices=(("assembly",), ("belief",)), passes=(1,), thresholds=(-500.0, 12.0), rates=(2e-3,))
    heard = Noting()
    *_, rows = measure(tried, heard)
    assert len(heard.runs) == tried.total == 3
    assert [row["threshold"] for row in rows] == [12.0]


def test_one_rate_needs_no_choosing(plan):
    one = replace(plan, choices=(("assembly",), ("belief",)), passes=(1,), rates=(2e-3,))
    heard = Noting()
    list(measure(one, heard))
    assert len(heard.runs) == one.total == 1


def test_held_out_images_are_training_images_that_are_not_learned(plan):
    held = held_out(plan.data)
    assert len(held.train[1]) == 240
    assert len(held.test[1]) == 60
    whole = sorted(image.tobytes() for image in plan.data.train[0])
    assert sorted(image.tobytes() for part in (held.train, held.test) for image in part[0]) == whole


def test_of_many_training_images_5000_are_held_out(plan):
    images, labels = (part.repeat(100, axis=0) for part in plan.data.train)
    assert len(held_out(replace(plan.data, train=(images, labels))).test[1]) == choices.HELD_OUT


def test_what_cannot_be_is_refused_before_anything_runs(plan):
    heard = Noting()
    with pytest.raises(ConfigError, match=r"belief, sideways: network\.negatives"):
        next(measure(replace(plan, keys=("negatives", "negatives"), choices=(("belief",), ("sideways",))), heard))
    assert heard.runs == []


def row(passes, first, second, accuracy):
    return {
        "passes": passes,
        "coding": first,
        "negatives": second,
        "test_accuracy": accuracy,
        "accuracies": [accuracy - 0.01, accuracy, accuracy + 0.01],
    }


def test_the_table_and_the_heat_map_have_a_cell_a_pair():
    rows = [row(1, "assembly", "belief", 0.9), row(1, "assembly", "uniform", 0.8), row(8, "context", "belief", 0.95)]
    assert table(rows, KEYS) == [
        {"passes": "1", "coding": "assembly", "belief": "90.00 ± 1.00", "uniform": "80.00 ± 1.00"},
        {"passes": "8", "coding": "context", "belief": "95.00 ± 1.00", "uniform": "–"},
    ]
    panels = figures.heat_map(rows, KEYS).axes[:2]
    assert [sorted(text.get_text() for text in ax.texts) for ax in panels] == [["80.0", "90.0"], ["95.0"]]
