"""The record of a benchmark: what ran, under which conditions, every latency, how right it was.

Raw latencies are kept, so that later tools can compute what this version did not think of.
record.schema.json says the same as these dataclasses, for other programs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.records.machine import Environment, MachineState
from benchmarks.records.measurements import (
    Accuracy,
    FrameBudget,
    Measurement,
    Memory,
    Peak,
    Phases,
    Roofline,
)
from benchmarks.records.strict_json import parse, read_object
from runtime.errors import InputError
from runtime.files import written_whole

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Result:
    """One backend with one file: what was measured of it, or why it did not run here.

    name: such as "ONNX Runtime CPU". Name, precision and file tell results apart.
    description: of the library, version and device that ran it; empty where nothing ran.
    device: cpu or cuda, where it computes.
    file, sha256, size_bytes: the model file; for PyTorch the weights.
    card_sha256: of the card's JSON, which says what the file is and what it was made from.
    build_seconds: from the card, for engines that say so. load_ms: from the file to a backend that
    takes frames, without imports. first_frame_ms: latency of the very first frame, which no round
    repeats. All None where nothing ran or nothing is known.
    accuracies: one for each size that was measured. phases: of engines alone.
    error: what took the backend away before everything was measured; else None.
    not_run: why the backend cannot run on this machine; else None.
    """

    name: str
    precision: str
    description: str
    device: str
    file: str
    sha256: str
    size_bytes: int
    card_sha256: str | None
    build_seconds: float | None
    load_ms: float | None
    first_frame_ms: float | None
    memory: Memory | None
    accuracies: tuple[Accuracy, ...]
    measurements: tuple[Measurement, ...]
    phases: Phases | None = None
    budget: FrameBudget | None = None
    roofline: Roofline | None = None
    error: str | None = None
    not_run: str | None = None

    def __post_init__(self) -> None:
        if self.not_run is not None and self.measurements:
            raise ValueError("a result with measurements did run")
        if self.not_run is None and self.error is None and not self.measurements:
            raise ValueError("a result needs measurements, or the reason why there are none")


@dataclass(frozen=True)
class Size:
    """Of a frame, in pixels."""

    height: int
    width: int


@dataclass(frozen=True)
class Conditions:
    """What was asked of every backend.

    scenarios, batches, sizes: that were measured, see Measurement.
    images: the names of the files. classes: of the models, by id.
    labels: the labelled split behind the IoUs, or None.
    reference: the name of the result that agreement is measured against, or None.
    threads: of every CPU backend; None leaves it to each library.
    rounds: that every backend got at least, in turns with the others. stable_within: the interval
    of the median, over the median, at which no more were added; limit_seconds: after which none
    was begun for a scenario, batch and size. Both None where the rounds were fixed.
    seconds, minimum_count, cap_seconds, warm_up_ms: of each round, see benchmarks.scenarios.
    latency_bound_ms: that the server scenario holds p99 under, or None. streams: frames in a query
    of the multi-stream scenario, or None. seed: of the arrivals.
    total_seconds: after which no backend was opened and no further round begun, or None.
    workloads: the reference workload by device, in words; empty where none was measured.
    """

    scenarios: tuple[str, ...]
    batches: tuple[int, ...]
    sizes: tuple[Size, ...]
    images: tuple[str, ...]
    classes: tuple[str, ...]
    labels: str | None
    reference: str | None
    threads: int | None
    rounds: int
    stable_within: float | None
    limit_seconds: float | None
    seconds: float
    minimum_count: int
    cap_seconds: float
    warm_up_ms: float
    latency_bound_ms: float | None
    streams: int | None
    seed: int | None
    workloads: Mapping[str, str]
    total_seconds: float | None = None


@dataclass(frozen=True)
class Record:
    """One benchmark.

    command: the exact command line. before, after: the machine's state around all rounds.
    peaks: what the machine's devices reach, empty where it was not measured.
    """

    command: str
    conditions: Conditions
    environment: Environment
    before: MachineState
    after: MachineState | None
    results: tuple[Result, ...]
    peaks: tuple[Peak, ...] = ()

    def __post_init__(self) -> None:
        if not self.results:
            raise ValueError("a record needs at least one result")


def write_record(path: str | Path, record: Record) -> None:
    """Write the record as JSON, a list of numbers on one line; InputError if that fails."""
    content = {"schema_version": SCHEMA_VERSION, **asdict(record)}
    text = json.dumps(content, indent=1, allow_nan=False)
    one_line = re.sub(r"\[[\d\s.,e+-]+\]", lambda numbers: " ".join(numbers[0].split()), text)
    with written_whole(path) as temporary:
        temporary.write_text(one_line + "\n", encoding="utf-8")


def read_record(path: str | Path) -> Record:
    """Read a record; InputError if it is not exactly what write_record writes."""
    content = read_object(path)
    version = content.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has record schema {version!r}; this version reads schema {SCHEMA_VERSION}. "
            "Measure anew: refinenet benchmark --json"
        )
    try:
        return parse(Record, content, "the record")
    except ValueError as error:
        raise InputError(f"{path} is not a benchmark record: {error}") from error
