"""Latencies summed up: median, tail, throughput, and whether the tail can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from benchmarks.records.measurements import Round

# A percentile rests on the samples beyond it. With 100 of them its rank is known to about a tenth;
# for p99 this is MLPerf's order of magnitude, 10,000 queries, for p90 it is 1,000.
SAMPLES_BEYOND_A_TRUSTED_PERCENTILE = 100


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles by linear interpolation, over the frames of all rounds.

    frames_per_second: frames by wall time, the loop around the calls included.
    """

    count: int
    median_ms: float
    p90_ms: float
    p99_ms: float
    frames_per_second: float

    @property
    def p90_is_low_confidence(self) -> bool:
        return self.count // 10 < SAMPLES_BEYOND_A_TRUSTED_PERCENTILE

    @property
    def p99_is_low_confidence(self) -> bool:
        return self.count // 100 < SAMPLES_BEYOND_A_TRUSTED_PERCENTILE


def summarize(rounds: Sequence[Round]) -> LatencySummary:
    """Sum up one backend's rounds; there must be at least one."""
    latencies_ms = list(chain.from_iterable(entry.latencies_ms for entry in rounds))
    median, p90, p99 = (float(value) for value in np.percentile(latencies_ms, (50, 90, 99)))
    wall_s = sum(entry.wall_ms for entry in rounds) / 1e3
    return LatencySummary(len(latencies_ms), median, p90, p99, len(latencies_ms) / wall_s)
