"""A refinenet command as a process of its own, timed at every file that it says it has written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ENDINGS = (".onnx", ".engine")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """What a process took up to a moment: wall_s, cpu_s since its start, start of Python included;
    peak_bytes of resident memory."""

    wall_s: float
    cpu_s: float
    peak_bytes: int

    def since(self, earlier: Cost) -> Cost:
        """The times from `earlier` on; the peak is that of the whole process still."""
        return Cost(self.wall_s - earlier.wall_s, self.cpu_s - earlier.cpu_s, self.peak_bytes)


@dataclass(frozen=True)
class Finished:
    """written: the files in order, each with what was used since the one before it. wall_s: of the
    whole process. message: its last line on stderr."""

    exit_code: int
    message: str
    written: tuple[tuple[Path, Cost], ...]
    wall_s: float


def run(arguments: Sequence[str]) -> Finished:
    """Run `python -m ARGUMENTS` to its end; needs Linux, whose /proc has the figures."""
    started = time.perf_counter()
    written = []
    before = Cost(0.0, 0.0, 0)
    with subprocess.Popen(
        [sys.executable, "-u", "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None  # they are pipes
        assert process.stderr is not None
        for line in process.stdout:
            path = Path(line.split("  ")[0])
            if path.suffix in ENDINGS:
                now = _cost(process.pid, started)
                written.append((path, now.since(before)))
                before = now
        errors = process.stderr.read().strip().splitlines()
    return Finished(
        exit_code=process.returncode,
        message=errors[-1] if errors else "",
        written=tuple(written),
        wall_s=time.perf_counter() - started,
    )


def _cost(pid: int, started: float) -> Cost:
    # After the name, which may hold anything, come the fields from the third on; see proc(5).
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    peak_kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return Cost(time.perf_counter() - started, cpu_s, 1024 * int(peak_kib))
