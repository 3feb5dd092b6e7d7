from __future__ import annotations

import csv

import pytest
from scipy import stats

from ffstream.experiments.deprivation import plan as planning
from ffstream.experiments.deprivation.summary import SAID, estimate, outcomes, points, recovery, table, write_curves

PLAN = planning.load(None, quick=True).model_copy(update={"seeds": 2}).only(arms=["deprived-40"], recipes=[])


def row(arm, seed, segment, batches, accuracy, slept=0):
    said = dict.fromkeys(SAID, 0.5)
    beside = {"do": "deprived", "steps": batches + slept, "sleep_steps": slept, "weight_norm": [1.0, 2.0]}
    told = {"recipe": "default", "arm": arm, "seed": seed, "segment": segment, "batches": batches}
    return {**told, **said, **beside, "test_accuracy": accuracy}


def lived(seed, *, after, recovering):
    """Live 40 batches without sleep, then some with it, beside a rested arm that is always at 90 %."""
    return [
        *(row("rested", seed, 1, batches, 0.9) for batches in (0, 40, 44, 52)),
        row("deprived-40", seed, 0, 0, 0.9),
        row("deprived-40", seed, 1, 40, after),
        *(
            row("deprived-40", seed, 2, batches, accuracy, slept)
            for batches, accuracy, slept in zip((44, 52), recovering, (8, 16), strict=True)
        ),
    ]


def test_an_interval_is_that_of_students_t():
    values = [1.0, 2.5, 2.0, 4.0]
    found = estimate(values)
    low, high = stats.t.interval(0.95, 3, loc=found.mean, scale=stats.sem(values))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert estimate([1.0]).half is None


def test_what_is_lost_and_how_long_recovery_takes_is_held_against_the_rested_arm():
    rows = [*lived(0, after=0.8, recovering=(0.85, 0.895)), *lived(1, after=0.86, recovering=(0.9, 0.7))]
    (found,) = outcomes(PLAN, rows)
    assert found.deficit == pytest.approx([10, 4])
    assert found.lingering == pytest.approx([0.5, 20])
    assert found.recovery_steps == [16, 8]
    assert recovery(found.recovery_steps) == "8 – 16"
    assert (found.false_accepts_gained, found.accepts_recovery_steps) == ([0, 0], [0, 0])
    assert (found.do, found.dose) == ("deprived", 40)
    assert table([found])[0]["points lost"] == "+7.00 ± 38.12"


def test_what_never_comes_back_and_what_was_never_lost_is_said():
    rows = [*lived(0, after=0.8, recovering=(0.8, 0.8)), *lived(1, after=0.9, recovering=(0.9, 0.9))]
    (found,) = outcomes(PLAN, rows)
    assert found.recovery_steps == [None, 0]
    assert recovery(found.recovery_steps) == "none needed (1 of 2 never)"
    (found,) = outcomes(PLAN, rows[: len(rows) // 2])
    assert recovery(found.recovery_steps) == "never"
    assert recovery([8, None, 16]) == "8 – 16 (1 of 3 never)"


def test_points_are_told_apart_as_finely_as_images_can_and_no_float_is_a_little_off():
    assert points([row("sham", 0, 1, 4, 0.8966)], [row("rested", 0, 1, 4, 0.9)], "test_accuracy", -1) == [0.34]


def test_curves_have_a_column_a_layer(tmp_path):
    write_curves(tmp_path / "curves.csv", lived(0, after=0.8, recovering=(0.8, 0.8)))
    with (tmp_path / "curves.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 8
    assert (rows[0]["weight_norm_1"], rows[0]["weight_norm_2"]) == ("1.0", "2.0")
