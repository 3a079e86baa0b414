"""Intervals by bootstrap: how far a figure would have moved, had the same things happened again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
FEWEST_VALUES = 5  # of one or two the interval has no width, and says nothing
SEED = 0  # a record must give the same interval whenever it is read


@dataclass(frozen=True)
class Interval:
    """An estimate and the percentile bootstrap interval around it."""

    estimate: float
    low: float
    high: float

    @property
    def relative_width(self) -> float:
        """Half the interval's width over the estimate."""
        return (self.high - self.low) / 2 / self.estimate


def median_interval(values: Sequence[float]) -> Interval:
    """The median of independent values, and its interval; at least one value."""
    array = np.asarray(values, float)
    return _interval(float(np.median(array)), resampled_medians(array, SEED))


def ratio_interval(over: Sequence[float], under: Sequence[float]) -> Interval:
    """The ratio of two medians, of values that know nothing of each other."""
    above, below = np.asarray(over, float), np.asarray(under, float)
    ratios = resampled_medians(above, SEED) / resampled_medians(below, SEED + 1)
    return _interval(float(np.median(above) / np.median(below)), ratios)


def resampled_medians(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(RESAMPLES,) medians of as many values, drawn with replacement."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    return np.asarray(np.median(values[drawn], axis=1))


def _interval(estimate: float, resampled: NDArray[np.float64]) -> Interval:
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, (outside, 1 - outside))
    return Interval(estimate, float(low), float(high))
