"""Read-outs of a network's answers: accuracy, separation of true from wrong labels, and confidence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True)
class Readouts:
    """Read-outs on the test images; goodness is the mean over layers, as in prediction.

    Attributes
    ----------
    test_accuracy
        Share of images predicted right.
    goodness_real, goodness_negative
        Mean goodness of the true label, and of the most believed wrong one.
    d_prime
        Difference of the two means in units of the root mean square standard deviation; nan if goodness does not vary.
    hits
        Share of images whose true label is called real: goodness above the threshold, p > 1/2.
    false_accepts
        Share of all wrong labels that are called real.
    confidence
        Mean probability of the predicted label.
    calibration_error
        Expected calibration error: mean distance of confidence from accuracy over 15 bins of confidence, weighted by
        the number of images in each (Guo et al. 2017).
    """

    test_accuracy: float
    goodness_real: float
    goodness_negative: float
    d_prime: float
    hits: float
    false_accepts: float
    confidence: float
    calibration_error: float


def read(
    goodness: NDArray[np.float32], probabilities: NDArray[np.float32], labels: NDArray[np.int64], threshold: float
) -> Readouts:
    """Compute the read-outs of answers.

    Parameters
    ----------
    goodness
        (n, layers, C) of every label in every layer.
    probabilities
        (n, C), rows summing to 1.
    labels
        (n,) true labels.
    threshold
        Goodness at which a layer is undecided.
    """
    mean = goodness.astype(np.float64).mean(1)
    wrong = np.ones(mean.shape, bool)
    wrong[np.arange(len(labels)), labels] = False
    real, negative = mean[~wrong], np.where(wrong, mean, -np.inf).max(1)
    predicted, confidence = probabilities.argmax(1), probabilities.max(1).astype(np.float64)
    right = predicted == labels
    return Readouts(
        test_accuracy=float(right.mean()),
        goodness_real=float(real.mean()),
        goodness_negative=float(negative.mean()),
        d_prime=d_prime(real, negative),
        hits=float((real > threshold).mean()),
        false_accepts=float((mean[wrong] > threshold).mean()),
        confidence=float(confidence.mean()),
        calibration_error=calibration_error(confidence, right),
    )


def d_prime(real: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Return the distance of two samples' means, in root mean square standard deviations; nan if neither varies.

    Examples
    --------
    >>> d_prime(np.array([5.0, 7.0]), np.array([1.0, 3.0]))
    4.0
    """
    deviation = math.sqrt((real.var() + negative.var()) / 2)
    return float(real.mean() - negative.mean()) / deviation if deviation else math.nan


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error of predictions (n,).

    Examples
    --------
    >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
    0.4
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, confidence - right, BINS)
    return float(np.abs(gaps).sum() / len(right))
