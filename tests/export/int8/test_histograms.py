"""Histograms in bounded memory, and the ranges that the four methods read off them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from export.int8.histograms import BINS, SAMPLES_PER_IMAGE, Histogram, Method
from runtime.errors import InputError


@pytest.fixture(scope="session")
def activations() -> NDArray[np.float32]:
    """What a ReLU leaves of a normal distribution, and one outlier at 100."""
    values = np.random.default_rng(0).normal(0, 1, 60000).clip(0).astype(np.float32)
    values[7] = 100
    return values


def histogram_of(*tensors: NDArray[np.float32]) -> Histogram:
    histogram = Histogram()
    for values in tensors:
        histogram.add(values)
    return histogram


def error(values: NDArray[np.float32], limit: float) -> float:
    """The mean squared error of INT8 with this range."""
    step = limit / 127
    rounded = np.clip(np.rint(values / step), -127, 127) * step
    return float(np.mean(np.square(values - rounded)))


def test_the_largest_value_is_kept_whatever_the_order(activations: NDArray[np.float32]) -> None:
    parts = np.array_split(activations, 5)
    one, other = histogram_of(*parts), histogram_of(*reversed(parts))
    assert one.largest == other.largest == 100
    assert one.width == other.width
    assert (one.counts == other.counts).all()


def test_memory_does_not_grow_with_the_number_of_tensors(activations: NDArray[np.float32]) -> None:
    histogram = histogram_of(*(activations * (1 + index) for index in range(40)))
    assert histogram.counts.shape == (BINS,)
    assert histogram.counts.sum() == 40 * activations.size
    assert {key for key, value in vars(histogram).items() if isinstance(value, np.ndarray)} == {
        "counts"
    }


@pytest.mark.parametrize("times", [0.5, 1, 1.5, 2, 2.5, 3.5])
def test_of_a_tensor_at_most_so_many_values_are_counted(times: float) -> None:
    counted = histogram_of(np.ones(int(times * SAMPLES_PER_IMAGE), np.float32)).counts.sum()
    assert SAMPLES_PER_IMAGE / 3 < counted <= SAMPLES_PER_IMAGE


def test_a_widened_histogram_counts_as_one_that_was_wide_from_the_start() -> None:
    small, large = np.float32([0.1, 0.3]), np.float32([5.0])
    assert (histogram_of(small, large).counts == histogram_of(large, small).counts).all()


def test_max_takes_the_outlier_and_the_others_do_not(activations: NDArray[np.float32]) -> None:
    histogram = histogram_of(activations)
    assert Method("max").limit(histogram) == 100
    for name in ("percentile", "entropy", "mse"):
        assert 2 < Method(name).limit(histogram) < 100, name


def test_the_percentile_is_that_of_the_values(activations: NDArray[np.float32]) -> None:
    for percentile in (90, 99.9):
        limit = Method("percentile", percentile).limit(histogram_of(activations))
        assert limit == pytest.approx(np.percentile(activations, percentile), abs=128 / BINS)


def test_mse_is_better_than_max_and_percentile(activations: NDArray[np.float32]) -> None:
    histogram = histogram_of(activations)
    best = error(activations, Method("mse").limit(histogram))
    assert best < error(activations, Method("max").limit(histogram))
    assert best < error(activations, Method("percentile").limit(histogram))


def test_entropy_keeps_a_uniform_distribution_whole() -> None:
    values = np.linspace(0, 1, 50000, dtype=np.float32)
    assert Method("entropy").limit(histogram_of(values)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", ["max", "percentile", "entropy", "mse"])
def test_a_tensor_of_zeros_has_no_range(name: str) -> None:
    assert Method(name).limit(histogram_of(np.zeros(10, np.float32))) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        histogram_of(np.float32([1, value]))


@pytest.mark.parametrize("percentile", [50, 0, -1, 100.1, float("nan")])
def test_a_percentile_that_makes_no_range_is_refused(percentile: float) -> None:
    with pytest.raises(InputError, match="percentile"):
        Method("percentile", percentile)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="'kl'; expected one of max, percentile, entropy, mse"):
        Method("kl")
