"""The backends of one benchmark from file to result: opened, judged, timed, or lost on the way."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import Judged
from benchmarks.backends.backend import CPU, CUDA, Backend, Candidate, reason_of
from benchmarks.host.gpu_state import device_memory
from benchmarks.host.memory import watched_memory
from benchmarks.records.measurements import Accuracy, FrameBudget, Measurement, Memory, Phases
from benchmarks.records.record import Result
from runtime.card import read_sidecar
from runtime.errors import InputError


@dataclass
class Entrant:
    """A candidate, and all that is found out about it.

    backend: None where it cannot run here (not_run says why).
    error: what took it away after it was opened; it then gets no more rounds.
    """

    candidate: Candidate
    backend: Backend | None = None
    load_ms: float | None = None
    first_frame_ms: float | None = None
    memory: Memory | None = None
    accuracies: list[Accuracy] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    phases: Phases | None = None
    budget: FrameBudget | None = None
    error: str | None = None
    not_run: str | None = None

    @property
    def runs(self) -> bool:
        return self.backend is not None and self.error is None

    @property
    def judged(self) -> Judged:
        assert self.backend is not None
        return Judged(self.backend, self.candidate.batch)

    def result(self) -> Result:
        """Everything as it stands in the record."""
        file = self.candidate.file
        sidecar = None if self.candidate.served else read_sidecar(file)
        seconds = sidecar.build.get("seconds") if sidecar else None
        return Result(
            name=self.candidate.name,
            precision=self.candidate.card.precision,
            description=self.backend.description if self.backend else "",
            device=self.candidate.device,
            file=file.name,
            sha256=self.candidate.sha256,
            size_bytes=self.candidate.size_bytes,
            card_sha256=hashlib.sha256(self.candidate.card.to_json().encode()).hexdigest(),
            build_seconds=float(seconds) if isinstance(seconds, int | float) else None,
            load_ms=self.load_ms,
            first_frame_ms=self.first_frame_ms,
            memory=self.memory,
            accuracies=tuple(self.accuracies),
            measurements=tuple(self.measurements),
            phases=self.phases,
            budget=self.budget,
            error=self.error,
            not_run=self.not_run,
        )


def opened(candidate: Candidate, frames: NDArray[np.uint8], stack: ExitStack) -> Entrant:
    """Open a backend and show it its first frames, (N, H, W, 3); the stack closes it.

    Raises InputError for a file that ONNX Runtime or PyTorch on the CPU call damaged or invalid.
    """
    entrant = Entrant(candidate)
    try:
        open_backend = candidate.opener()
        on_gpu = candidate.device == CUDA
        with watched_memory(device_memory if on_gpu else lambda: None) as watch:
            start_ns = time.perf_counter_ns()
            backend = open_backend()
            entrant.load_ms = _milliseconds_since(start_ns)
            stack.callback(_close, entrant, backend)
            start_ns = time.perf_counter_ns()
            backend(frames)
            entrant.first_frame_ms = _milliseconds_since(start_ns)
        entrant.backend, entrant.memory = backend, watch.found
    except Exception as error:
        if isinstance(error, InputError) and candidate.device == CPU:
            raise
        entrant.load_ms = None
        entrant.not_run = reason_of(error)
    return entrant


def _close(entrant: Entrant, backend: Backend) -> None:
    """The others are still to be closed, and the record to be written."""
    try:
        backend.close()
    except Exception as error:
        if entrant.runs:
            entrant.error = f"closing it failed: {reason_of(error)}"


def running(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Those that are open and not lost."""
    return [entrant for entrant in entrants if entrant.runs]


def _milliseconds_since(start_ns: int) -> float:
    return round((time.perf_counter_ns() - start_ns) / 1e6, 3)
