from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from ffstream.data import datasets
from ffstream.errors import ConfigError
from ffstream.experiments import figures, prequential
from ffstream.experiments.one_pass import STREAMS, make_stream
from ffstream.experiments.prequential import METHODS, Plan, Row, live, measure, table


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", Path())


def plan_of(data, **changes):
    return replace(Plan(data, "64-40-40", 16, 1, compiled=False, device="cpu", rates=(1e-3, 1e-2)), **changes)


def test_a_shuffled_stream_has_every_sample_in_an_order_that_the_seed_says(data):
    first, again, other = (make_stream("shuffled", data, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)
    assert sorted(first.labels) == sorted(data.train[1])
    assert first.test is data.test


def test_a_sorted_stream_ends_with_one_label_before_the_next_and_is_tested_on_all(data):
    stream = make_stream("sorted", data, 0)
    assert np.array_equal(stream.labels, np.sort(data.train[1]))
    assert stream.test is data.test
    assert not np.array_equal(stream.inputs, make_stream("sorted", data, 1).inputs)


def test_a_drifting_stream_begins_upright_and_is_tested_as_it_ends(data):
    upright, drifting = make_stream("shuffled", data, 0), make_stream("drift", data, 0)
    assert np.array_equal(drifting.labels, upright.labels)
    assert np.array_equal(drifting.inputs[0], upright.inputs[0])
    assert np.array_equal(drifting.inputs[-1], np.rot90(upright.inputs[-1]))
    assert np.array_equal(drifting.test[0], np.rot90(data.test[0], axes=(1, 2)))


def test_every_method_lives_through_every_stream(data):
    plan = plan_of(replace(data, train=(data.train[0][:160], data.train[1][:160])), seeds=2)
    lived = []
    rows = list(measure(plan, lambda: lived.append(1)))
    assert len(lived) == plan.total
    assert {(row.stream, row.method, row.seed) for row in rows} == {
        (stream, method, seed) for stream in STREAMS for method in METHODS for seed in (0, 1)
    }
    assert len(rows) == len(STREAMS) * len(METHODS) * 2


def test_backprop_keeps_the_best_rate_of_the_first_seed(monkeypatch, data):
    def fake(plan, name, stream, method, seed, rate=0.0):
        # The second seed would rather have the other rate.
        reached = -abs(rate - (1e-2 if seed == 0 else 1e-3))
        return Row(name, method, seed, rate, reached, 0.0, [])

    monkeypatch.setattr(prequential, "live", fake)
    rates = {row.rate for row in measure(plan_of(data, seeds=2), lambda: None) if row.method == "backprop"}
    assert rates == {1e-2}


@pytest.mark.parametrize("method", METHODS)
def test_a_life_learns_and_its_curve_is_its_prequential_accuracy(data, method):
    plan = plan_of(data, net="64-128-128")
    row = live(plan, "shuffled", make_stream("shuffled", data, 0), method, 0, 3e-3)
    assert 0.6 < row.prequential_accuracy < row.test_accuracy
    assert len(row.curve) == prequential.POINTS
    assert np.mean(row.curve) == pytest.approx(row.prequential_accuracy, abs=0.01)
    assert row.curve[0] < row.curve[-1]


def test_a_net_that_does_not_fit_the_images_is_refused(data):
    with pytest.raises(ConfigError, match="--net 784-40: a sample has 64 values"):
        next(measure(plan_of(data, net="784-40"), lambda: None))


def test_the_table_has_means_over_seeds_and_the_figure_a_line_a_method():
    rows = [
        asdict(Row(stream, method, seed, 1e-3, 0.8 + 0.1 * seed, 0.9, [0.5, 0.7]))
        for stream in STREAMS
        for method in METHODS
        for seed in (0, 1)
    ]
    made = table(rows)
    assert len(made) == len(STREAMS) * len(METHODS)
    assert made[0]["prequential accuracy, %"] == "85.00 ± 7.07"
    for ax in figures.prequential(rows).axes:
        assert [list(line.get_ydata()) for line in ax.lines] == [pytest.approx([50, 70])] * len(METHODS)
