"""One benchmark from files to a record: open every backend, compare the masks, time the frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.accuracy import agreement_with, mean_ious
from benchmarks.backends import Backend, Candidate, file_candidate, model_files
from benchmarks.environment import environment
from benchmarks.images import Inputs, Labels, common_geometry, open_inputs
from benchmarks.record import Agreement, Conditions, Measurement, Record, Result
from benchmarks.scenarios import StopRule, single
from runtime.errors import DeviceError, EngineMismatch, MissingPackage
from runtime.files import sha256_of


@dataclass(frozen=True)
class BenchmarkOptions:
    """What to measure, with what, and for how long.

    models: .onnx and .engine files, or folders of them.
    weights: a file or a shipped name; PyTorch with them is measured too, as the reference.
    images: a file or a folder; None takes those of `labels`. limit: of the images, None for all.
    size: (height, width) for models that take any. threads: None leaves it to each library.
    """

    models: tuple[Path, ...]
    weights: str | None = None
    images: Path | None = None
    labels: Labels | None = None
    limit: int | None = None
    size: tuple[int, int] | None = None
    scenario: str = "single"
    threads: int | None = None
    rounds: int = 3
    rule: StopRule = field(default_factory=StopRule)


@dataclass(frozen=True)
class Opened:
    """A backend that has given its first mask."""

    candidate: Candidate
    backend: Backend
    load_ms: float
    first_frame_ms: float


@dataclass(frozen=True)
class NotRun:
    """A backend that this machine cannot run."""

    candidate: Candidate
    reason: str


def measure(options: BenchmarkOptions, command: str, quiet: bool = False) -> Record:
    """Measure every backend on the same images.

    command: the command line, for the record.

    Raises InputError for models, weights or images that cannot be used. A backend that cannot run
    on this machine is in the record with its reason.
    """
    candidates, reference = _candidates(options)
    geometry = common_geometry(candidates, options.size)
    inputs = open_inputs(options.images, options.labels, options.limit, geometry)
    frames = inputs.timed_frames()
    machine = environment()  # before the first frame, which would raise its load average
    with ExitStack() as stack:
        trials = [_try(candidate, frames[:1], stack) for candidate in candidates]
        opened = [trial for trial in trials if isinstance(trial, Opened)]
        measurements = _measure(opened, reference, inputs, frames, options, quiet)
    of_opened = iter(measurements)
    return Record(
        command=command,
        conditions=_conditions(options, inputs, reference, frames),
        environment=machine,
        results=tuple(
            _result(trial, next(of_opened) if isinstance(trial, Opened) else None)
            for trial in trials
        ),
    )


def _candidates(options: BenchmarkOptions) -> tuple[list[Candidate], str | None]:
    """PyTorch first, the reference before all, if weights are given; and the reference's name."""
    files = [file_candidate(file, options.threads) for file in model_files(options.models)]
    if options.weights is None:
        return files, None
    from benchmarks.torch_backends import REFERENCE, torch_candidates

    return [*torch_candidates(options.weights, options.threads), *files], REFERENCE


def _try(candidate: Candidate, frame: NDArray[np.uint8], stack: ExitStack) -> Opened | NotRun:
    """Open a backend and show it its first frame, (1, H, W, 3)."""
    try:
        open_backend = candidate.opener()
        start_ns = time.perf_counter_ns()
        backend = open_backend()
        load_ms = _milliseconds_since(start_ns)
        stack.callback(backend.close)
        start_ns = time.perf_counter_ns()
        backend(frame)
        return Opened(candidate, backend, load_ms, _milliseconds_since(start_ns))
    except (MissingPackage, EngineMismatch, DeviceError) as error:
        return NotRun(candidate, str(error))


def _milliseconds_since(start_ns: int) -> float:
    return round((time.perf_counter_ns() - start_ns) / 1e6, 3)


def _measure(
    opened: Sequence[Opened],
    reference: str | None,
    inputs: Inputs,
    frames: NDArray[np.uint8],
    options: BenchmarkOptions,
    quiet: bool,
) -> list[Measurement]:
    """Agreement and mIoU first, which warms everything up, then the rounds."""
    backends = [entry.backend for entry in opened]
    agreements: list[Agreement | None] = [None] * len(opened)
    ious: list[float | None] = [None] * len(opened)
    steps = options.rounds * len(opened)
    steps += len(inputs.files) if reference else 0
    steps += len(inputs.labelled) if inputs.labelled else 0
    with tqdm(total=steps, unit="step", leave=False, disable=quiet or None) as progress:
        if reference is not None:
            first, *others = backends
            agreements[1:] = agreement_with(first, others, inputs.frames(), progress.update)
        if inputs.labelled is not None:
            ious = mean_ious(backends, inputs.labelled, inputs.geometry, progress.update)
        rounds = single(backends, frames, options.rule, options.rounds, progress.update)
    return [
        Measurement(entry.load_ms, entry.first_frame_ms, own_rounds, agreement, iou)
        for entry, own_rounds, agreement, iou in zip(opened, rounds, agreements, ious, strict=True)
    ]


def _result(trial: Opened | NotRun, measurement: Measurement | None) -> Result:
    candidate = trial.candidate
    return Result(
        name=candidate.name,
        precision=candidate.card.precision,
        description=trial.backend.description if isinstance(trial, Opened) else "",
        file=candidate.file.name,
        sha256=sha256_of(candidate.file),
        size_bytes=candidate.file.stat().st_size,
        measurement=measurement,
        not_run=trial.reason if isinstance(trial, NotRun) else None,
    )


def _conditions(
    options: BenchmarkOptions, inputs: Inputs, reference: str | None, frames: NDArray[np.uint8]
) -> Conditions:
    labels = None
    if options.labels and inputs.labelled:
        count = len(inputs.labelled)
        labels = f"{options.labels.dataset} {options.labels.split}, {count} images"
    return Conditions(
        scenario=options.scenario,
        batch=1,
        height=frames.shape[1],
        width=frames.shape[2],
        images=tuple(file.name for file in inputs.files),
        labels=labels,
        reference=reference,
        threads=options.threads,
        rounds=options.rounds,
        **asdict(options.rule),
    )
