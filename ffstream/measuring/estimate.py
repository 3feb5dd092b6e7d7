"""A figure over seeds: its mean, and what the seeds allow to be said of chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """The mean of a figure over seeds, its standard deviation, and the confidence interval of the mean.

    Every report takes its means, deviations and intervals from here. Seeds that agree to the last digit show no spread:
    the figure is coarser than what chance does to it, and a deviation or an interval of zero would claim certainty.

    Parameters
    ----------
    values
        One for each seed, at least one.

    Examples
    --------
    >>> Estimate.of([1.0, 2.0, 3.0]).with_interval(2)
    '2.00 ± 2.48'
    >>> Estimate.of([1.0, 2.0, 3.0]).with_deviation(2)
    '2.00 ± 1.00'
    >>> Estimate.of([0.5, 0.5]).with_interval(2)
    '0.50 (2 equal)'
    """

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float], scale: float = 1.0) -> Estimate:
        """Take the values of the seeds, each times ``scale``."""
        return cls(tuple(scale * value for value in values))

    @property
    def mean(self) -> float:
        """The mean."""
        return statistics.fmean(self.values)

    @property
    def without_interval(self) -> str | None:
        """Why there is neither a deviation nor an interval; ``None`` where there are both."""
        if len(self.values) == 1:
            return "1 seed: no interval can be given"
        # A float's last digits are rounding, not spread.
        if math.isclose(min(self.values), max(self.values), rel_tol=1e-9, abs_tol=1e-9):
            return f"{len(self.values)} seeds, equal to the digit: no interval can be given"
        return None

    @property
    def deviation(self) -> float | None:
        """The standard deviation, with one degree of freedom less than there are seeds; ``None`` without spread."""
        return None if self.without_interval else statistics.stdev(self.values)

    @property
    def half(self) -> float | None:
        """Half the width of the 95 % confidence interval of the mean by Student's t; ``None`` without spread."""
        if self.deviation is None:
            return None
        from scipy.stats import t  # noqa: PLC0415  heavy, and only this needs it

        n = len(self.values)
        return float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * self.deviation / math.sqrt(n)

    def with_interval(self, digits: int, *, signed: bool = False) -> str:
        """Say the mean and half the interval with so many digits behind the point."""
        return self._say(self.half, digits, signed=signed)

    def with_deviation(self, digits: int) -> str:
        """Say the mean and the standard deviation with so many digits behind the point."""
        return self._say(self.deviation, digits)

    def _say(self, spread: float | None, digits: int, *, signed: bool = False) -> str:
        mean = f"{self.mean:{'+' if signed else ''}.{digits}f}"
        if spread is None:
            return mean if len(self.values) == 1 else f"{mean} ({len(self.values)} equal)"
        said = f"{spread:.{digits}f}"
        # What is only too small for the digits is not nothing.
        return f"{mean} ± {said}" if float(said) else f"{mean} ± <{10**-digits:.{digits}f}"


def percent(shares: Iterable[float]) -> str:
    """Say shares, one a seed, in percent: their mean and standard deviation."""
    return Estimate.of(shares, 100).with_deviation(2)
