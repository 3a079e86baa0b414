"""A history of figures: one JSON line for each time that a claim was measured, never rewritten.

The reference workload is timed beside every figure, so that lines written on a busy and on an idle
machine can be told apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.host.environment import machine_state
from benchmarks.host.reference_workload import CPU_WORK, cpu_workload
from benchmarks.records.machine import Environment
from runtime.errors import InputError
from runtime.files import output_folder

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks/results/history"
WORKLOAD_TIMES = 11


@dataclass(frozen=True)
class Entry:
    """One measurement.

    figures: by name, with the unit at its end: export_seconds, export_peak_bytes.
    workload, workload_ms: the reference workload in words, and its median just before.
    """

    utc: str
    commit: str | None
    commit_is_dirty: bool | None
    machine: str
    load_average: float | None
    command: str
    workload: str
    workload_ms: float
    figures: Mapping[str, float]


def entry(
    command: str, machine: Environment, figures: Mapping[str, float], workload_ms: float
) -> Entry:
    """The figures with the machine's state now.

    machine: as it was before the first history was written, which changes the commit's files.
    """
    state = machine_state()
    gpus = "".join(f", {gpu.name}" for gpu in machine.gpus)
    return Entry(
        utc=state.utc,
        commit=machine.commit,
        commit_is_dirty=machine.commit_is_dirty,
        machine=f"{machine.cpu}, {machine.cores} cores{gpus}",
        load_average=state.load_average,
        command=command,
        workload=CPU_WORK,
        workload_ms=workload_ms,
        figures=figures,
    )


def reference_ms() -> float:
    """The median of the reference workload on the CPU, now."""
    workload = cpu_workload(None)
    return median(wall_ms for wall_ms, _ in (workload() for _ in range(WORKLOAD_TIMES)))


def append(path: Path, new: Entry) -> None:
    """Add one line at the end of a history; InputError if it cannot be written."""
    line = json.dumps(asdict(new), ensure_ascii=False, allow_nan=False) + "\n"
    output_folder(path.parent)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); choose another --history"
        ) from error
