from __future__ import annotations

import math

import numpy as np
import pytest

from ffstream.experiments.deprivation.readouts import calibration_error, d_prime, read

GOODNESS = np.array(
    [
        # Two layers, three labels; means over layers: 6 2 1; 3 5 1; 0 5 2.
        [[7.0, 1.0, 1.0], [5.0, 3.0, 1.0]],
        [[2.0, 6.0, 0.0], [4.0, 4.0, 2.0]],
        [[0.0, 5.0, 2.0], [0.0, 5.0, 2.0]],
    ],
    np.float32,
)
LABELS = np.array([0, 1, 2])
PROBABILITIES = np.array([[0.9, 0.05, 0.05], [0.3, 0.6, 0.1], [0.05, 0.85, 0.1]], np.float32)


def test_accuracy_goodness_hits_and_false_accepts_are_as_counted_by_hand():
    found = read(GOODNESS, PROBABILITIES, LABELS, 2.5)
    assert found.test_accuracy == pytest.approx(2 / 3)
    assert found.goodness_real == pytest.approx((6 + 5 + 2) / 3)
    assert found.goodness_negative == pytest.approx((2 + 3 + 5) / 3)
    assert found.hits == pytest.approx(2 / 3)
    # Of six wrong labels, 3 and 5 lie above the threshold.
    assert found.false_accepts == pytest.approx(2 / 6)
    assert found.confidence == pytest.approx((0.9 + 0.6 + 0.85) / 3)


def test_goodness_below_zero_is_read_as_any():
    assert read(GOODNESS - 10, PROBABILITIES, LABELS, -7.5).goodness_negative == pytest.approx(10 / 3 - 10)


def test_d_prime_is_that_of_plain_numpy():
    found = read(GOODNESS, PROBABILITIES, LABELS, 2.5)
    real, negative = np.array([6, 5, 2]), np.array([2, 3, 5])
    pooled = np.sqrt((np.std(real) ** 2 + np.std(negative) ** 2) / 2)
    assert found.d_prime == pytest.approx((np.mean(real) - np.mean(negative)) / pooled)
    assert math.isnan(d_prime(np.ones(3), np.zeros(3)))


def test_calibration_error_is_that_of_bins_one_by_one():
    random = np.random.default_rng(0)
    confidence = random.uniform(0.1, 1, 500)
    right = random.random(500) < confidence**2
    expected = 0.0
    for low in np.arange(15) / 15:
        held = (confidence >= low) & (confidence < low + 1 / 15)
        if held.any():
            expected += held.mean() * abs(confidence[held].mean() - right[held].mean())
    assert calibration_error(confidence, right) == pytest.approx(expected)
    assert calibration_error(np.ones(4), np.ones(4, bool)) == 0
