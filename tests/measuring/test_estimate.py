from __future__ import annotations

import math

import pytest
from scipy import stats

from ffstream.measuring.estimate import Estimate


def test_an_interval_is_that_of_students_t():
    values = [1.0, 2.5, 2.0, 4.0]
    found = Estimate.of(values)
    low, high = stats.t.interval(0.95, 3, loc=found.mean, scale=stats.sem(values))
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high))
    assert found.deviation == pytest.approx(stats.tstd(values))
    assert found.without_interval is None


@pytest.mark.parametrize("values", [(0.56, 0.56), (0.1 + 0.2, 0.3, 0.3), (0.0, 0.0), (1e6, 1e6)])
def test_seeds_that_are_equal_to_the_digit_have_no_interval(values):
    found = Estimate.of(values)
    n = len(values)
    assert (found.half, found.deviation) == (None, None)
    assert found.without_interval == f"{n} seeds, equal to the digit: no interval can be given"
    assert found.with_interval(2).endswith(f" ({n} equal)")
    assert found.with_deviation(2).endswith(f" ({n} equal)")


def test_one_seed_has_no_interval():
    found = Estimate.of([0.56])
    assert (found.half, found.deviation, found.with_interval(2, signed=True)) == (None, None, "+0.56")
    assert found.without_interval == "1 seed: no interval can be given"


def test_a_spread_too_small_for_the_digits_is_not_said_to_be_nothing():
    found = Estimate.of([0.5, 0.5001])
    assert found.with_interval(2) == "0.50 ± <0.01"
    assert found.with_deviation(2) == "0.50 ± <0.01"
    assert found.with_deviation(5) == f"0.50005 ± {0.0001 / math.sqrt(2):.5f}"


def test_values_can_be_scaled_to_percent():
    assert Estimate.of([0.9, 0.92], 100).with_deviation(2) == "91.00 ± 1.41"
