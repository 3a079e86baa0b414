"""A command as a process of its own: its time and memory, also at every file that it names."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

ENDINGS = (".onnx", ".engine")
KIBIBYTE = 1024  # Linux's unit of ru_maxrss and VmHWM
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
    """written: the files in order, each with what was used since the one before it. whole: of the
    process from start to end. message: its last line on stderr."""

    exit_code: int
    message: str
    written: tuple[tuple[Path, Cost], ...]
    whole: Cost


def run(arguments: Sequence[str]) -> Finished:
    """Run `python -m ARGUMENTS` to its end; needs Linux, whose /proc has the figures.

    The peak of the whole process is at least this one's own, with which Linux begins it.
    """
    command = (sys.executable, "-u", "-m", *arguments)
    marks: list[tuple[Path, Cost | None]] = []
    # To a file: a pipe that nobody reads yet would fill, and stop a process that complains a lot.
    with TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None  # it is a pipe
        with process.stdout:
            for line in process.stdout:
                path = Path(line.split("  ")[0])
                if path.suffix in ENDINGS:
                    marks.append((path, _cost(process.pid, started)))
        _, status, used = os.wait4(process.pid, 0)  # the resources of this one child
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read().strip().splitlines()
    whole = Cost(wall_s, used.ru_utime + used.ru_stime, KIBIBYTE * used.ru_maxrss)
    return Finished(
        exit_code=process.returncode,
        message=said[-1] if said else "",
        written=_between([(path, cost or whole) for path, cost in marks]),
        whole=whole,
    )


def _between(marks: Sequence[tuple[Path, Cost]]) -> tuple[tuple[Path, Cost], ...]:
    before = [Cost(0.0, 0.0, 0), *(cost for _, cost in marks)]
    return tuple((path, cost.since(b)) for (path, cost), b in zip(marks, before, strict=False))


def _cost(pid: int, started: float) -> Cost | None:
    """Up to now; None of a process that has ended, whose memory is gone."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    if not peaks:
        return None
    # After the name, which may hold anything, come the fields from the third on; see proc(5).
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
    return Cost(time.perf_counter() - started, cpu_s, KIBIBYTE * int(peaks[0]))
