"""Percentiles, throughput, and when a tail is to be believed."""

import numpy as np
import pytest

from benchmarks.records.latency import summarize
from benchmarks.records.measurements import Round


def test_percentiles_of_one_to_a_hundred() -> None:
    summary = summarize([Round(tuple(float(ms) for ms in range(1, 101)), 5050.0, "enough")])
    assert summary.median_ms == pytest.approx(50.5)
    assert summary.p90_ms == pytest.approx(90.1)
    assert summary.p99_ms == pytest.approx(99.01)


def test_percentiles_are_numpys_over_all_rounds() -> None:
    latencies = np.random.default_rng(0).lognormal(2, 0.5, 999).round(3)
    first, second = tuple(latencies[:400]), tuple(latencies[400:])
    summary = summarize([Round(first, 1.0, "enough"), Round(second, 1.0, "enough")])
    assert summary.median_ms == np.median(latencies)
    assert summary.p90_ms == np.quantile(latencies, 0.9)
    assert summary.p99_ms == np.quantile(latencies, 0.99)


def test_throughput_counts_the_wall_time_and_not_the_latencies() -> None:
    summary = summarize([Round((1.0, 1.0), 500.0, "enough"), Round((1.0, 1.0), 1500.0, "cap")])
    assert summary.frames_per_second == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("count", "p90_low", "p99_low"),
    [(999, True, True), (1000, False, True), (9_999, False, True), (10_000, False, False)],
)
def test_a_percentile_needs_a_hundred_samples_beyond_it(
    count: int, p90_low: bool, p99_low: bool
) -> None:
    summary = summarize([Round((1.0,) * count, 1.0, "enough")])
    assert (summary.p90_is_low_confidence, summary.p99_is_low_confidence) == (p90_low, p99_low)
