"""What a backend adds to the memory of this process and of the GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records.measurements import Memory

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): sets the peak resident set back to the current one

DeviceMemory = Callable[[], int | None]  # bytes in use on the GPU


@dataclass
class MemoryWatch:
    """Filled in when the block that watches ends."""

    found: Memory | None = None


@contextmanager
def watched_memory(device_memory: DeviceMemory) -> Iterator[MemoryWatch]:
    """The growth of the peak resident set within the block, and of the GPU's used memory.

    Both are differences to what was in use before: what an earlier backend freed and this one takes
    again does not count. The host's is None off Linux.
    """
    host_before, device_before = _reset_peak(), device_memory()
    watch = MemoryWatch()
    try:
        yield watch
    finally:
        host, device = _kilobytes("VmHWM"), device_memory()
        watch.found = Memory(
            None if None in (host_before, host) else _growth(host_before, host),
            None if None in (device_before, device) else _growth(device_before, device),
        )


def _growth(before: int | None, after: int | None) -> int:
    return max(0, (after or 0) - (before or 0))


def _reset_peak() -> int | None:
    """Bytes resident now, from where the peak starts anew; None where it cannot."""
    try:
        CLEAR.write_text(RESET_PEAK, encoding="ascii")
    except OSError:
        return None
    return _kilobytes("VmRSS")


def _kilobytes(entry: str) -> int | None:
    """An entry of /proc/self/status in bytes."""
    if not STATUS.exists():
        return None
    found = re.search(rf"^{entry}:\s+(\d+) kB$", STATUS.read_text(encoding="ascii"), re.M)
    return int(found[1]) * 1024 if found else None
