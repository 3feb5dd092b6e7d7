from __future__ import annotations

import csv

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection

from ffstream.experiments.deprivation import figures, page
from ffstream.experiments.deprivation import plan as planning
from ffstream.experiments.deprivation.summary import SAID, outcomes, points, recovery, table, write_curves

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


def test_seeds_that_are_equal_to_the_digit_give_no_interval_and_no_verdict():
    rows = [one for seed in (0, 1) for one in lived(seed, after=0.8944, recovering=(0.9, 0.9))]
    found = outcomes(PLAN, rows)
    assert table(found)[0]["points lost"] == "+0.56 (2 equal)"
    (said,) = page.results(PLAN, found)
    assert "+0.56 points of test accuracy" in said
    assert "(2 seeds, equal to the digit: no interval can be given)" in said
    assert "±" not in said
    assert "costs accuracy" not in said


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        ((0.010, 0.0102), "deprivation costs accuracy"),
        ((-0.010, -0.0102), "deprivation gains accuracy"),
        ((0.010, -0.01), "no effect on accuracy that the interval tells from none"),
    ],
)
def test_seeds_that_differ_give_an_interval_and_a_verdict(lost, verdict):
    rows = [one for seed in (0, 1) for one in lived(seed, after=0.9 - lost[seed], recovering=(0.9, 0.9))]
    (said,) = page.results(PLAN, outcomes(PLAN, rows))
    assert f"({verdict})" in said
    assert "±" in said


def test_a_point_without_an_interval_has_no_whisker():
    equal = [one for seed in (0, 1) for one in lived(seed, after=0.8944, recovering=(0.9, 0.9))]
    apart = [one for seed in (0, 1) for one in lived(seed, after=0.89 - seed / 100, recovering=(0.9, 0.9))]
    for rows, expected in ((equal, 0), (apart, 1)):
        dose = figures.dose_response(PLAN, outcomes(PLAN, rows)).figure
        course = figures.courses(PLAN, rows, "test_accuracy", "test accuracy, %", 100).figure
        assert [whiskers(drawn) for drawn in (dose, course)] == [expected, expected]


def test_no_band_lies_over_the_lines_of_a_course():
    rows = [one for seed in (0, 1) for one in lived(seed, after=0.89 - seed / 3, recovering=(0.9, 0.9))]
    (ax,) = figures.courses(PLAN, rows, "test_accuracy", "test accuracy, %", 100).figure.axes
    assert not any(isinstance(drawn, PolyCollection) for drawn in ax.collections)


def test_a_picture_is_told_in_words():
    rows = [one for seed in (0, 1) for one in lived(seed, after=0.8 + seed / 10, recovering=(0.85, 0.895))]
    course = figures.courses(PLAN, rows, "test_accuracy", "test accuracy, %", 100)
    assert course.alt == (
        "Line chart of test accuracy, %, over learning steps, a line for each arm. the default rule: rested for 120 "
        "batches, from 90 to 90; deprived for 40 batches, from 90 to 85, then 89.5."
    )
    assert figures.dose_response(PLAN, outcomes(PLAN, rows)).alt == (
        "Line chart of test accuracy lost, points, over the length of the manipulation. the default rule: "
        "deprived +5.00 after 40."
    )
    assert figures.recoveries(PLAN, rows).alt == (
        "Line chart of test accuracy still lost, in points, over the sleep steps of the recovery, a line for each arm. "
        "the default rule: deprived for 40 batches, +5.00, and +0.50 after 16 sleep steps."
    )


def whiskers(drawn):
    """Return how many vertical lines a figure has that stand for an interval."""
    (ax,) = drawn.axes
    segments = [part for lines in ax.collections if isinstance(lines, LineCollection) for part in lines.get_segments()]
    return sum(np.isfinite(part).all() and part[0, 1] < part[1, 1] for part in segments if part.size)


def test_curves_have_a_column_a_layer(tmp_path):
    write_curves(tmp_path / "curves.csv", lived(0, after=0.8, recovering=(0.8, 0.8)))
    with (tmp_path / "curves.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 8
    assert (rows[0]["weight_norm_1"], rows[0]["weight_norm_2"]) == ("1.0", "2.0")
