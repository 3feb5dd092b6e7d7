from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_row import DECLARED, Noting

from ffstream.data import datasets
from ffstream.errors import SourceError
from ffstream.experiments import figures
from ffstream.experiments.reproduction import Plan, reproduce, summary, table
from ffstream.experiments.run import Record

CPU = torch.device("cpu")
PROMISED = "name published_error error_mean error_std seeds passes seconds device errors parameters samples"


def record(*errors: float) -> Record:
    return Record("stamp", [*errors], 2.0, 100, 50, "a processor")


def test_the_error_is_that_after_the_last_pass_never_the_best(declare):
    row = declare(published_error=4.0, source="a paper")
    found = summary(row, [record(1.0, 5.0), record(9.0, 7.0)])
    assert set(PROMISED.split()) <= found.keys()
    assert (found["error_mean"], found["published_error"], found["seeds"]) == (6.0, 4.0, 2)
    assert found["error_std"] == pytest.approx(2**0.5)
    assert found["errors_by_pass"] == [[1.0, 5.0], [9.0, 7.0]]


def test_one_seed_has_no_deviation(declare):
    one = summary(declare(), [record(5.0)])
    assert (one["error_std"], table([one])[0]["our error, %"]) == (None, "5.00")


def test_seeds_that_are_equal_to_the_digit_have_no_deviation(declare):
    equal = summary(declare(), [record(5.0), record(5.0)])
    assert (equal["error_std"], table([equal])[0]["our error, %"]) == (None, "5.00 (2 equal)")
    apart = summary(declare(), [record(5.0), record(7.0)])
    assert [whiskers(row) for row in (equal, apart)] == [0, 1]


def whiskers(row):
    """Return how many whiskers are drawn on the bar of a row."""
    (bars,) = figures.beside_published([row]).axes
    return sum(segment.size > 0 for drawn in bars.collections for segment in drawn.get_segments())


def test_rows_grow_with_every_run(tmp_path, declare):
    rows = [declare(seeds=2, passes=1), declare(name="other", passes=1, seeds=1, method="frozen")]
    plan = Plan(rows, tmp_path, tmp_path / "runs", CPU)
    grown = list(reproduce(plan, Noting()))
    assert [[(row["name"], row["seeds"]) for row in found] for found in grown] == [
        [("small", 1)],
        [("small", 2)],
        [("small", 2), ("other", 1)],
    ]
    assert len(grown) == plan.total
    assert grown[-1][0]["samples"] == len(datasets.load("digits", Path()).train[1])


def test_seeds_give_different_weights_and_more_of_them_go_on_from_those_that_are_there(tmp_path, declare):
    row = declare(passes=1)
    list(reproduce(Plan([row], tmp_path, tmp_path, CPU, seeds=1), Noting()))
    more = Noting()
    *_, (found,) = reproduce(Plan([row], tmp_path, tmp_path, CPU, seeds=3), more)
    assert [done for *_, done in more.runs] == [23, 0, 0]
    assert found["seeds"] == len(found["errors"]) == 3
    assert len(set(found["errors"])) > 1


@pytest.mark.parametrize("shape", [(28, 28), (3, 32, 32)])
def test_quick_needs_no_data_and_one_pass_whatever_the_shape(tmp_path, declare, shape):
    network = {**DECLARED["network"], "shape": shape}
    row = declare(dataset="mnist", passes=100, seeds=5, network=network)
    heard = Noting()
    ((found,),) = reproduce(Plan([row], tmp_path / "nothing", tmp_path / "runs", CPU, quick=True), heard)
    assert (found["passes"], found["seeds"], found["samples"]) == (1, 1, 256)
    assert heard.batches == 4


def test_data_that_are_not_there_are_asked_for(tmp_path, declare):
    network = {**DECLARED["network"], "shape": (28, 28)}
    with pytest.raises(SourceError, match="--data-root"):
        next(reproduce(Plan([declare(dataset="mnist", network=network)], tmp_path, tmp_path, CPU), Noting()))


def test_the_table_puts_ours_beside_published(declare):
    rows = [
        summary(declare(published_error=4.74, source="an article"), [record(4.0), record(5.0)]),
        summary(declare(name="own"), [record(3.0)]),
    ]
    columns = ("row", "published error, %", "our error, %", "source")
    assert [tuple(line[column] for column in columns) for line in table(rows)] == [
        ("small", "4.74", "4.50 ± 0.71", "an article"),
        ("own", "–", "3.00", "–"),
    ]


def test_figures_show_every_row_and_every_published_figure(declare):
    rows = [
        summary(declare(published_error=4.74, source="an article"), [record(9.0, 4.0), record(8.0, 5.0)]),
        summary(declare(name="own"), [record(3.0)]),
    ]
    (lines,) = figures.errors_by_pass(rows).axes
    assert [list(line.get_ydata()) for line in lines.lines] == [[8.5, 4.5], [3.0]]
    (bars,) = figures.beside_published(rows).axes
    assert sorted(bar.get_width() for bar in bars.patches) == [3.0, 4.5, 4.74]
