"""One benchmark from files to a record: open every backend, judge its masks, time its frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.accuracy import judge
from benchmarks.backends.backend import (
    CPU,
    CUDA,
    Candidate,
    file_candidates,
    model_files,
    reason_of,
    served_candidate,
)
from benchmarks.backends.entrants import Entrant, opened, running
from benchmarks.host.environment import environment, machine_state
from benchmarks.host.reference_workload import ReferenceWorkload, cpu_workload, gpu_workload
from benchmarks.images import Inputs, Labels, common_geometries, open_inputs
from benchmarks.keep_pictures import keep_pictures
from benchmarks.records.measurements import MULTI, SERVER, SINGLE, Phases
from benchmarks.records.record import Conditions, Record, Size
from benchmarks.scenarios.budget import frame_budget, with_phases
from benchmarks.scenarios.plan import Load, entries, leave_out, measure_entry
from benchmarks.scenarios.rounds import Deadline, Patience
from benchmarks.scenarios.scenarios import StopRule
from runtime.card import Card


@dataclass(frozen=True)
class BenchmarkOptions:
    """What to measure, with what, and for how long.

    models: .onnx and .engine files, folders of them, and addresses of served models.
    weights: a file or a shipped name; PyTorch with them is measured too, as the reference.
    factory: module:function of a network of the user's, for the same; weights fill it.
    against: what else runs the weights and the .onnx files, see VARIANTS and PROVIDERS.
    images: a file or a folder; None takes those of `labels`. limit: of the images, None for all.
    batches: frames in one call. sizes: (height, width); empty takes those of the models.
    threads: of every CPU backend; None leaves it to each library.
    rule: when a round ends. patience: how many there are. load: how hard servers are asked.
    total_seconds: after half of which no backend is opened, and after which no round begun; None
    for no end.
    pictures: where to keep some frames and every backend's masks of them, or None.
    card: of models that carry none.
    """

    models: tuple[Path | str, ...]
    weights: str | None = None
    factory: str | None = None
    against: tuple[str, ...] = ("torch",)
    images: Path | None = None
    labels: Labels | None = None
    limit: int | None = None
    scenarios: tuple[str, ...] = (SINGLE,)
    batches: tuple[int, ...] = (1,)
    sizes: tuple[tuple[int, int], ...] = ()
    threads: int | None = None
    rule: StopRule = field(default_factory=StopRule)
    patience: Patience = field(default_factory=Patience)
    load: Load = field(default_factory=Load)
    total_seconds: float | None = None
    pictures: Path | None = None
    card: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The models that lie on this machine."""
        return tuple(model for model in self.models if isinstance(model, Path))


def measure(options: BenchmarkOptions, command: str, quiet: bool = False) -> Record:
    """Measure every backend on the same images.

    command: the command line, for the record.

    Raises InputError for models, weights or images that cannot be used. A backend that cannot run
    on this machine, or fails on the way, is in the record with its reason.
    """
    candidates, reference = candidates_of(options)
    return measure_candidates(candidates, reference, options, command, quiet)


def measure_candidates(
    candidates: Sequence[Candidate],
    reference: str | None,
    options: BenchmarkOptions,
    command: str,
    quiet: bool = False,
) -> Record:
    """Measure these instead of the options' own; reference: the name of one of them, or None."""
    geometries = common_geometries(candidates, options.batches, options.sizes)
    sizes = [_size(geometry) for geometry in geometries]
    plan = entries(options.scenarios, options.batches, sizes, options.load)
    inputs = open_inputs(options.images, options.labels, options.limit, candidates[0].card.classes)
    deadline = Deadline(options.total_seconds)
    before = machine_state()  # before the first frame, which would raise its load average
    with ExitStack() as stack, tqdm(unit="step", leave=False, disable=quiet or None) as progress:
        entrants = [_opened(entry, inputs, geometries, deadline, stack) for entry in candidates]
        progress.total = len(geometries) * inputs.sample_count
        progress.total += options.patience.rounds * len(plan) * len(running(entrants))
        for geometry in geometries:
            _judge(entrants, reference, inputs, geometry, progress)
        workloads = _workloads(entrants, options.threads)
        for number, entry in enumerate(plan):
            share_seconds = deadline.left_seconds / (len(plan) - number)
            if share_seconds <= 0:
                leave_out(entry, entrants, f"{deadline.reason} before this was measured")
                continue
            frames = inputs.timed_frames(geometries[sizes.index(entry.size)])
            measure_entry(
                entry,
                entrants,
                frames,
                options.rule,
                replace(options.patience, whole_seconds=share_seconds),
                options.load,
                workloads,
                progress.update,
            )
        for entrant in running(entrants):
            _add_budget(entrant, inputs, geometries)
        if options.pictures is not None:
            keep_pictures(options.pictures, entrants, inputs, geometries[0], before.utc)
        after = machine_state()
    return Record(
        command=command,
        conditions=_conditions(options, inputs, reference, geometries, workloads),
        environment=environment(),
        before=before,
        after=after,
        results=tuple(entrant.result() for entrant in entrants),
    )


def candidates_of(options: BenchmarkOptions) -> tuple[list[Candidate], str | None]:
    """PyTorch first, the reference before all, if weights or a factory are given; and the name of
    the reference."""
    files = [
        candidate
        for file in model_files(options.files)
        for candidate in file_candidates(file, options.threads, options.against, options.card)
    ]
    files += [served_candidate(model) for model in options.models if isinstance(model, str)]
    if options.weights is None and options.factory is None:
        return files, None
    from benchmarks.backends.origin import Origin
    from benchmarks.backends.torch_backends import REFERENCE, torch_candidates

    size = next(iter(options.sizes), None) or _first_size(files)
    shape = None if size is None else (options.batches[0], *size)
    origin = Origin(options.weights, options.factory, files[0].card if files else None)
    of_torch = torch_candidates(origin, options.threads, options.against, shape)
    return [*of_torch, *files], REFERENCE


def _first_size(candidates: Sequence[Candidate]) -> tuple[int, int] | None:
    sizes = (candidate.card.frame_size for candidate in candidates)
    return next((size for size in sizes if size is not None), None)


def _size(geometry: Card) -> tuple[int, int]:
    assert geometry.frame_size is not None
    return geometry.frame_size


def _opened(
    candidate: Candidate,
    inputs: Inputs,
    geometries: Sequence[Card],
    deadline: Deadline,
    stack: ExitStack,
) -> Entrant:
    if deadline.half_over:
        return Entrant(candidate, not_run=f"half of {deadline.reason} before it was opened")
    own = candidate.card.frame_size
    geometry = next(g for g in geometries if own in (None, g.frame_size))
    frame = inputs.timed_frames(geometry)[:1]
    return opened(candidate, np.repeat(frame, candidate.batch or 1, axis=0), stack)


def _judge(
    entrants: Sequence[Entrant],
    reference: str | None,
    inputs: Inputs,
    geometry: Card,
    progress: tqdm[None],
) -> None:
    """Agreement with the reference and IoU at one size, which warms everything up."""
    size = _size(geometry)
    judged = [e for e in running(entrants) if e.candidate.card.frame_size in (None, size)]
    names = [entrant.candidate.name for entrant in judged]
    index = names.index(reference) if reference in names else None
    backends = [entrant.judged for entrant in judged]
    found = judge(backends, index, inputs.samples(geometry), geometry, progress.update)
    for entrant, accuracy in zip(judged, found, strict=True):
        if isinstance(accuracy, Exception):
            entrant.error = reason_of(accuracy)
        else:
            entrant.accuracies.append(accuracy)


def _workloads(entrants: Sequence[Entrant], threads: int | None) -> dict[str, ReferenceWorkload]:
    """The reference workload of every device that is measured, as far as there is one.

    Where it fails, the device does, or rounds on it would compare with nothing: its backends are
    lost.
    """
    made: dict[str, ReferenceWorkload] = {}
    for device, make in ((CPU, partial(cpu_workload, threads)), (CUDA, gpu_workload)):
        there = [entrant for entrant in running(entrants) if entrant.candidate.device == device]
        try:
            workload = make() if there else None
        except Exception as error:
            for entrant in there:
                entrant.error = f"the reference workload failed: {reason_of(error)}"
            continue
        if workload is not None:
            made[device] = workload
    return made


def _add_budget(entrant: Entrant, inputs: Inputs, geometries: Sequence[Card]) -> None:
    own = entrant.candidate.card.frame_size
    geometry = next(g for g in geometries if own in (None, g.frame_size))
    candidate = entrant.candidate
    try:
        is_engine = candidate.served is None and candidate.file.suffix == ".engine"
        if is_engine and not candidate.streamed:
            entrant.phases = _phases(candidate, inputs.timed_frames(geometry))
        budget = frame_budget(entrant.judged, inputs.timed_files(), geometry)
        entrant.budget = with_phases(budget, entrant.phases)
    except Exception as error:
        entrant.error = reason_of(error)


def _phases(candidate: Candidate, frames: NDArray[np.uint8]) -> Phases:
    from benchmarks.backends.engine_phases import (
        engine_phases,
    )  # TensorRT and CUDA, for engines alone

    return engine_phases(candidate.file, np.repeat(frames[:1], candidate.batch or 1, axis=0))


def _conditions(
    options: BenchmarkOptions,
    inputs: Inputs,
    reference: str | None,
    geometries: Sequence[Card],
    workloads: Mapping[str, ReferenceWorkload],
) -> Conditions:
    labels = None
    if options.labels and inputs.labelled:
        count = len(inputs.labelled)
        labels = f"{options.labels.dataset} {options.labels.split}, {count} images"
    load, patience = options.load, options.patience
    return Conditions(
        scenarios=options.scenarios,
        batches=options.batches,
        sizes=tuple(Size(*_size(geometry)) for geometry in geometries),
        images=tuple(file.name for file in inputs.files),
        classes=geometries[0].classes,
        labels=labels,
        reference=reference,
        threads=options.threads,
        rounds=patience.rounds,
        stable_within=patience.stable_within,
        limit_seconds=None if patience.stable_within is None else patience.limit_seconds,
        latency_bound_ms=load.latency_bound_ms if SERVER in options.scenarios else None,
        streams=load.streams if MULTI in options.scenarios else None,
        seed=load.seed,
        total_seconds=options.total_seconds,
        workloads={device: workload.description for device, workload in workloads.items()},
        **asdict(options.rule),
    )
