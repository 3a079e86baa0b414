"""Histograms of activations that grow in range, not in size, and the range that each method reads
off them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError

BINS = 4096
LEVELS = 128  # magnitudes that INT8 tells apart
METHODS = ("max", "percentile", "entropy", "mse")
SAMPLES_PER_IMAGE = 2**16
CANDIDATES = 128  # ranges that mean-squared error and entropy choose from


class Histogram:
    """How often each magnitude occurred, over any number of tensors, in a fixed number of bins.

    The bins cover [0, width]. Where a value lies beyond, the width doubles and pairs of bins are
    merged, so that one pass is enough and the result depends on no first guess.

    Of each tensor at most SAMPLES_PER_IMAGE values are counted, evenly spread; `largest` is of all.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.width = 0.0
        self.largest = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Count the magnitudes of a tensor of any shape; ValueError if one is not finite."""
        largest = float(max(values.max(), -values.min()))
        if not math.isfinite(largest):
            raise ValueError("not finite")
        self.largest = max(self.largest, largest)
        if self.largest == 0:  # only zeros so far: any width holds them
            self.counts[0] += min(values.size, SAMPLES_PER_IMAGE)
            return
        self._widen()
        flat = values.reshape(-1)
        # An odd stride, so that the sample walks through columns and channels alike.
        sample = np.abs(flat[:: -(-flat.size // SAMPLES_PER_IMAGE) | 1])
        places = np.minimum(sample * (BINS / self.width), BINS - 1).astype(np.int64)
        self.counts += np.bincount(places, minlength=BINS)

    def _widen(self) -> None:
        if self.width == 0:
            self.width = 2.0 ** math.ceil(math.log2(self.largest))
        while self.width < self.largest:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self.width *= 2

    @property
    def centres(self) -> NDArray[np.float64]:
        """The magnitudes that the bins stand for."""
        return np.asarray((np.arange(BINS) + 0.5) * (self.width / BINS), np.float64)


@dataclass(frozen=True)
class Method:
    """How a range is chosen.

    name: max, the largest magnitude; percentile, which clips outliers that would cost all others
    their resolution; entropy, the least Kullback-Leibler divergence between the values and what 128
    levels make of them (Migacz, GTC 2017); mse, the least mean squared error of rounding and
    clipping together. percentile: the share of values in percent that must lie in the range.
    """

    name: str = "percentile"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        if self.name not in METHODS:
            raise InputError(f"method '{self.name}'; expected one of {', '.join(METHODS)}")
        if not 50 < self.percentile <= 100:
            raise InputError(f"percentile {self.percentile}; expected above 50, up to 100")

    def __str__(self) -> str:
        return f"percentile-{self.percentile:g}" if self.name == "percentile" else self.name

    def limit(self, histogram: Histogram) -> float:
        """The range [-limit, limit] for what the histogram has seen."""
        if histogram.largest == 0 or self.name == "max":
            return histogram.largest
        if self.name == "percentile":
            return _percentile(histogram, self.percentile)
        error = _divergence if self.name == "entropy" else _squared_error
        limits = histogram.largest * np.arange(4, CANDIDATES + 1) / CANDIDATES
        return float(min(limits, key=lambda limit: error(histogram, float(limit))))


def _percentile(histogram: Histogram, percentile: float) -> float:
    """The upper edge of the bin in which the percentile lies."""
    if percentile == 100:
        return histogram.largest
    shares = np.cumsum(histogram.counts) / histogram.counts.sum()
    edge = (int(np.searchsorted(shares, percentile / 100)) + 1) * histogram.width / BINS
    return min(edge, histogram.largest)


def _squared_error(histogram: Histogram, limit: float) -> float:
    values, step = histogram.centres, limit / (LEVELS - 1)
    rounded = np.minimum(np.rint(values / step), LEVELS - 1) * step
    return float(histogram.counts @ np.square(values - rounded))


def _divergence(histogram: Histogram, limit: float) -> float:
    """Of the clipped distribution from its copy in 128 levels, each spread evenly over the bins
    that were not empty."""
    used = max(LEVELS, round(limit / histogram.width * BINS))
    inside = histogram.counts[:used].astype(np.float64)
    inside[0] = 0  # exact zeros, which ReLU makes in masses, are exact in INT8 too
    clipped = inside.copy()
    clipped[-1] += histogram.counts[used:].sum()
    level = np.arange(used) * LEVELS // used
    occupied = inside > 0
    share = np.bincount(level, inside, LEVELS) / np.maximum(np.bincount(level, occupied), 1)
    spread = np.where(occupied, share[level], 0)
    if not spread.any():
        return math.inf
    p, q = clipped / clipped.sum(), spread / spread.sum()
    seen = p > 0
    # A bin that only clipping fills has no counterpart: a tiny one keeps the divergence finite.
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))))
