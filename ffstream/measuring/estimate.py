"""Estimate of a figure over seeds: its mean, and its variation by chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """The mean of a figure over seeds, its standard deviation, and the confidence interval of the mean.

    Every report takes its means, deviations and intervals from here. Seeds that agree to the last digit have no spread:
    the figure is too coarse to show chance variation, and a deviation or an interval of zero would claim certainty.

    Parameters
    ----------
    values
        One value per seed, at least one.

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
        """Return the estimate of the seeds' values, each multiplied by ``scale``."""
        return cls(tuple(scale * value for value in values))

    @property
    def mean(self) -> float:
        """The mean."""
        return statistics.fmean(self.values)

    @property
    def without_interval(self) -> str | None:
        """Reason why there is neither a deviation nor an interval; ``None`` if both exist."""
        if len(self.values) == 1:
            return "1 seed: no interval can be given"
        # A float's last digits are rounding, not spread.
        if math.isclose(min(self.values), max(self.values), rel_tol=1e-9, abs_tol=1e-9):
            return f"{len(self.values)} seeds, equal to the digit: no interval can be given"
        return None

    @property
    def deviation(self) -> float | None:
        """Standard deviation, with one degree of freedom fewer than seeds; ``None`` without spread."""
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
        """Format the mean and half the interval with ``digits`` decimals."""
        return self._say(self.half, digits, signed=signed)

    def with_deviation(self, digits: int) -> str:
        """Format the mean and the standard deviation with ``digits`` decimals."""
        return self._say(self.deviation, digits)

    def _say(self, spread: float | None, digits: int, *, signed: bool = False) -> str:
        mean = f"{self.mean:{'+' if signed else ''}.{digits}f}"
        if spread is None:
            return mean if len(self.values) == 1 else f"{mean} ({len(self.values)} equal)"
        said = f"{spread:.{digits}f}"
        # A spread that is too small for the digits is still not zero.
        return f"{mean} ± {said}" if float(said) else f"{mean} ± <{10**-digits:.{digits}f}"


def percent(shares: Iterable[float]) -> str:
    """Format the mean and standard deviation of shares, one per seed, in percent."""
    return Estimate.of(shares, 100).with_deviation(2)
