from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ffstream.cli import app
from ffstream.data import datasets
from ffstream.errors import ConfigError
from ffstream.experiments import figures
from ffstream.experiments.separation import Plan, configure, live, measure, table
from ffstream.experiments.sleepers import ARMS, Daily, Published
from ffstream.ff.lesson import Phase


@pytest.fixture(scope="module")
def data():
    digits = datasets.load("digits", Path())
    return replace(digits, train=(digits.train[0][:512], digits.train[1][:512]))


def plan_of(data, **changes):
    plan = Plan(data, ["remembered"], ["relabel"], [4], seeds=1, passes=2, device="cpu", compiled=False)
    return replace(plan, **changes)


def test_a_life_learns_and_has_both_ends(data):
    row = live(plan_of(data), "remembered", "relabel", 4, 0)
    assert (row.arm, row.negatives, row.steps_per_phase, row.passes) == ("remembered", "relabel", 4, 2)
    assert row.wake_end_accuracy > 0.8
    assert row.sleep_end_accuracy > 0.8


def test_a_life_is_awake_for_as_many_steps_as_it_sleeps(data, monkeypatch):
    lived = []
    for name in ("wake", "sleep"):
        monkeypatch.setattr(Daily, name, lambda _self, _batch=None, name=name: lived.append(name))
    live(plan_of(data, passes=1), "plain", "relabel", 3, 0)
    # 512 images are 8 batches of 64: the last phase is shorter.
    assert lived == [*["wake"] * 3, *["sleep"] * 3] * 2 + ["wake"] * 2 + ["sleep"] * 2


def test_a_sleeper_sleeps_when_it_is_told_to(data):
    sleeper = Daily(configure(plan_of(data), "plain", "relabel", 4, 0), ARMS["plain"])
    sleeper.wake((data.train[0][:64], data.train[1][:64]))
    sleeper.sleep()
    sleeper.sleep()
    assert sleeper.learner.phase_steps == {Phase.WAKE: 1, Phase.SLEEP: 2, Phase.TOGETHER: 0}


def test_together_has_one_length_and_both_signs(data):
    plan = plan_of(data, arms=["together", "plain"], steps=[1, 4], seeds=2)
    assert [cell[:3] for cell in plan.cells if cell[0] == "together"] == [("together", "relabel", 1)] * 2
    assert len(plan.cells) == 6
    sleeper = Daily(configure(plan, "together", "relabel", 1, 0), ARMS["together"])
    sleeper.wake((data.train[0][:64], data.train[1][:64]))
    sleeper.sleep()
    assert sleeper.learner.phase_steps[Phase.TOGETHER] == 1


def test_the_published_recipe_learns_a_batch_in_fifty_steps_with_a_state_for_each_phase(data):
    sleeper = Published(configure(plan_of(data), "published", "relabel", 1, 0))
    sleeper.wake((data.train[0][:64], data.train[1][:64]))
    awake = sleeper.network.layers[0].rule
    sleeper.sleep()
    asleep = sleeper.network.layers[0].rule
    assert awake is not asleep
    assert awake.state()["steps"] == asleep.state()["steps"] == Published.STEPS
    assert awake.state()["mean"].data_ptr() != asleep.state()["mean"].data_ptr()
    assert awake.weight is asleep.weight


def test_the_published_recipe_sleeps_on_the_batches_of_the_day_in_their_order(data, monkeypatch):
    monkeypatch.setattr(Published, "STEPS", 1)
    sleeper = Published(configure(plan_of(data), "published", "relabel", 1, 0))
    heard = []
    sleeper.network.sweep = lambda rows, lesson, draws: heard.append((lesson.phase, lesson.labels[0].item()))
    for day in ((3, 4), (5,)):
        for label in day:
            sleeper.wake((data.train[0][:1], np.array([label])))
        for _ in day:
            sleeper.sleep()
    assert heard == [("wake", 3), ("wake", 4), ("sleep", 3), ("sleep", 4), ("wake", 5), ("sleep", 5)]


@pytest.mark.parametrize("arm", [name for name, arm in ARMS.items() if arm.counter])
def test_an_ablation_changes_what_it_says(data, arm):
    counter = Daily(configure(plan_of(data), arm, "relabel", 4, 0), ARMS[arm]).learner.network.counter
    for _ in range(1000):
        counter.step(Phase.WAKE)
    moves = [name for name in counter.state() if name.startswith("wake")]
    assert (bool(moves), counter.share == 1.0) == (arm == "remembered-unpaced", arm == "remembered-unpaced")


def test_what_is_unknown_is_named(data):
    with pytest.raises(ConfigError, match=r"--arms: unknown: asleep; choose from together, remembered"):
        next(measure(plan_of(data, arms=["asleep"]), lambda name: None))


def test_what_does_not_go_together_is_refused_before_anything_is_lived(data):
    lived = []
    with pytest.raises(ConfigError, match=r"published, dream: .* set network\.coding"):
        next(measure(plan_of(data, arms=["plain", "published"], negatives=["dream"]), lived.append))
    assert lived == []


@pytest.mark.parametrize(
    ("negatives", "lowered"),
    [("relabel", ("belief", "memory")), ("masks", ("masks", "memory")), ("dream", ("belief", "dream"))],
)
def test_sleep_may_lower_something_else(data, negatives, lowered):
    config = configure(plan_of(data), "remembered", negatives, 4, 0)
    assert (config.network.negatives, config.dreams.source) == lowered
    row = live(plan_of(data, passes=4), "remembered", negatives, 4, 0)
    assert row.sleep_end_accuracy > 0.5


def test_the_table_has_means_over_seeds_at_both_ends(data):
    row = asdict(live(plan_of(data, passes=1), "plain", "relabel", 4, 0))
    rows = [
        {**row, "seed": seed, "wake_end_accuracy": wake, "sleep_end_accuracy": 0.5}
        for seed, wake in enumerate((0.9, 0.92))
    ]
    rows += [{**rows[0], "arm": "together", "steps_per_phase": 1, "sleep_end_accuracy": 0.9}]
    plain, together = table(rows)
    assert plain["K = 4"] == f"91.00 ± {100 * np.std([0.9, 0.92], ddof=1):.2f} / 50.00 (2 equal)"
    assert plain["K = 1"] == "–"
    assert together["K = 1"] == "90.00"
    assert len(figures.separation(rows).axes) == 1


def test_the_verb_writes_rows_a_table_and_a_figure(tmp_path):
    command = "experiment phase-separation --quick --arms together,plain --steps-per-phase 2 --passes 1"
    done = CliRunner().invoke(app, [*command.split(), "--out", str(tmp_path), "--json", str(tmp_path / "again.json")])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "again.json").read_text())["rows"]
    assert [row["arm"] for row in rows] == ["together", "plain"]
    assert set(rows[0]) == {
        "arm",
        "negatives",
        "steps_per_phase",
        "seed",
        "passes",
        "wake_end_accuracy",
        "sleep_end_accuracy",
    }
    assert {path.name for path in tmp_path.iterdir()} >= {"results.json", "table.md", "separation.png"}


def test_a_length_that_is_no_number_is_refused(tmp_path):
    done = CliRunner().invoke(
        app, ["experiment", "phase-separation", "--quick", "--steps-per-phase", "0", "--out", str(tmp_path)]
    )
    assert done.exit_code == 2
    assert "--steps-per-phase" in done.output
