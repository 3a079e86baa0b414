"""Memory is what is added while it is watched."""

import sys

import numpy as np
import pytest

from benchmarks.host.memory import watched_memory

MEGABYTE = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_peak_that_is_over_is_seen_and_one_from_before_is_not() -> None:
    np.ones(128 * MEGABYTE, np.uint8)  # gone again before the watch begins
    peaks = []
    for _ in range(5):  # idle pages of the process that the kernel takes back meanwhile lower one
        with watched_memory(lambda: None) as watch:
            np.ones(64 * MEGABYTE, np.uint8)
        assert watch.found is not None
        assert watch.found.host_peak_bytes is not None
        peaks.append(watch.found.host_peak_bytes)
    assert 60 * MEGABYTE < max(peaks) < 100 * MEGABYTE
    assert watch.found.device_peak_bytes is None


def test_the_devices_memory_is_what_grew() -> None:
    used = iter([5 * MEGABYTE, 7 * MEGABYTE])
    with watched_memory(lambda: next(used)) as watch:
        pass
    assert watch.found is not None
    assert watch.found.device_peak_bytes == 2 * MEGABYTE
