"""Builds that keep kernel times, without TensorRT: the files and the lock are the real ones, the
ITimingCache inside the file is simulated.

    python tools/reliability/simulated_timing.py FOLDER KERNEL...

is one process that measures one kernel after the other.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from export.building.timing_cache import TimingCache
from runtime.tensorrt_api import TensorRT

TRT = TensorRT("tensorrt", "10.16.1.11", SimpleNamespace())
GPU = "NVIDIA RTX A4000 sm_86"


class Times:
    """An ITimingCache as far as it is used: times by kernel, which can be joined."""

    def __init__(self, content: bytes) -> None:
        self.known = json.loads(content or b"{}")

    def combine(self, other: Times, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.known = other.known | self.known
        return "of another GPU" not in other.known

    def serialize(self) -> bytes:
        return json.dumps(self.known).encode()


class Config:
    """An IBuilderConfig as far as its timing cache goes."""

    def __init__(self, accepts: bool = True) -> None:
        self._accepts = accepts
        self.times = Times(b"")

    def create_timing_cache(self, content: bytes) -> Times | None:
        return None if content == b"damaged" else Times(content)

    def set_timing_cache(self, times: Times, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.times = times
        return self._accepts

    def get_timing_cache(self) -> Times:
        return self.times


def build(folder: Path, kernel: str, seconds: float = 0.0) -> None:
    """A build that measures one kernel, for so long."""
    cache, config = TimingCache(folder, TRT, GPU), Config()
    cache.lend(config)
    time.sleep(seconds)
    config.times.known[kernel] = 1
    cache.keep(config)


def kernels(folder: Path) -> set[str]:
    """Those whose times the file of a folder holds."""
    return set(json.loads(TimingCache(folder, TRT, GPU).file.read_bytes()))


if __name__ == "__main__":
    for name in sys.argv[2:]:
        build(Path(sys.argv[1]), name, seconds=0.002)
