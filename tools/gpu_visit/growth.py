"""Memory of the process and of the GPU, before and after many frames."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

from cuda.bindings import driver
from stand_in.kernels import checked

STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class Memory:
    """gpu_free: bytes; of the whole GPU, so other programs on it show too. host: bytes resident."""

    gpu_free: int
    host: int


@dataclass(frozen=True)
class Growth:
    """What so many frames, in so many seconds, added to the memory in use."""

    frames: int
    seconds: float
    gpu_mib: float
    host_mib: float

    @classmethod
    def since(cls, before: Memory, frames: int, seconds: float) -> Growth:
        """From `before` to now. A CUDA context is current."""
        now = memory_now()
        return cls(
            frames,
            round(seconds, 2),
            round((before.gpu_free - now.gpu_free) / 2**20, 2),
            round((now.host - before.host) / 2**20, 2),
        )

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.gpu_mib:+g} MiB on the GPU, {self.host_mib:+g} MiB on the host"


def memory_now() -> Memory:
    """Both, in the current CUDA context."""
    free, _ = checked(driver.cuMemGetInfo())
    pages = int(STATM.read_text(encoding="ascii").split()[1])
    return Memory(int(free), pages * resource.getpagesize())
