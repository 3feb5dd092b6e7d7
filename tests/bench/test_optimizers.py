from __future__ import annotations

import pytest

from ffstream.bench.optimizers import CONTENDERS, Contender, Plan, compete, means, rate_of
from ffstream.data.datasets import Dataset, load


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    data = load("digits", tmp_path_factory.mktemp("none"), download=False)
    part = (data.train[0][:600], data.train[1][:600])
    return Dataset(part, data.test, data.labels)


def test_every_contender_lives_through_the_stream(small):
    told: list[int] = []
    rows = compete(CONTENDERS, small, Plan(batch=20, passes=2, rate_factor=1.0), 0, told.append)
    assert [(row.optimizer, row.precision, row.rounding) for row in rows] == [
        (c.optimizer, c.precision, c.rounding) for c in CONTENDERS
    ]
    assert sum(told) == 60
    for row in rows:
        assert 0.3 < row.prequential_accuracy < row.test_accuracy < 1, row
        assert row.samples_per_second > 0


def test_the_same_seed_gives_the_same_accuracy(small):
    plan, only = Plan(batch=20, passes=1, rate_factor=1.0), [Contender("in_place", "float32")]
    first, again, other = (compete(only, small, plan, seed, len_of)[0] for seed in (0, 0, 1))
    assert first.prequential_accuracy == again.prequential_accuracy != other.prequential_accuracy


def test_the_factor_scales_every_best_rate(small):
    only = [Contender("adam", "float32"), Contender("backprop", "float32")]
    rows = compete(only, small, Plan(batch=100, passes=1, rate_factor=0.1), 0, len_of)
    assert [row.rate for row in rows] == pytest.approx([rate_of(one) / 10 for one in only])


def test_means_are_taken_over_seeds_alone():
    row = {"optimizer": "adam", "precision": "float32", "rounding": "nearest", "rate": 0.1, "passes": 1}
    figures = {"prequential_accuracy": 0.5, "test_accuracy": 0.5, "samples_per_second": 100.0}
    rows = [row | figures | {"seed": 0}, row | figures | {"seed": 1, "test_accuracy": 0.7}]
    assert means([*rows, {**rows[0], "optimizer": "unit"}]) == [
        row | figures | {"test_accuracy": pytest.approx(0.6), "seeds": 2},
        {**row, **figures, "optimizer": "unit", "seeds": 1},
    ]


def len_of(count: int) -> None:
    assert count > 0
