"""Memory is what is added while it is watched."""

import subprocess
import sys

import pytest

from benchmarks.host.memory import watched_memory

MEGABYTE = 2**20


# A process of its own: the kernel may take the idle pages of a large one back meanwhile.
PROGRAM = """
import numpy as np
from benchmarks.host.memory import watched_memory
np.ones(128 * 2**20, np.uint8)  # gone again before the watch begins
with watched_memory(lambda: None) as watch:
    np.ones(64 * 2**20, np.uint8)
print(watch.found.host_peak_bytes, watch.found.device_peak_bytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_peak_that_is_over_is_seen_and_one_from_before_is_not() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    host, device = done.stdout.decode().split()
    assert 60 * MEGABYTE < int(host) < 100 * MEGABYTE
    assert device == "None"


def test_the_devices_memory_is_what_grew() -> None:
    used = iter([5 * MEGABYTE, 7 * MEGABYTE])
    with watched_memory(lambda: next(used)) as watch:
        pass
    assert watch.found is not None
    assert watch.found.device_peak_bytes == 2 * MEGABYTE
