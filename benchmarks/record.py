"""The record of a benchmark: what ran, under which conditions, every latency, how right it was.

Raw latencies are kept, so that later tools can compute what this version did not think of;
statistics are derived (`benchmarks.latency`) and never stored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.strict_json import parse, read_object
from runtime.errors import InputError
from runtime.files import written_whole

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Round:
    """One backend's turn: frames one after the other, until the stop rule ended it.

    latencies_ms: of every frame, from a uint8 frame in host memory to a uint8 mask in host memory.
    wall_ms: of the whole turn, the loop around the calls included.
    stopped_by: what ended it, `enough` (time and count both reached) or `cap`.
    """

    latencies_ms: tuple[float, ...]
    wall_ms: float
    stopped_by: str

    def __post_init__(self) -> None:
        if not self.latencies_ms or min(self.latencies_ms) < 0 or self.wall_ms <= 0:
            raise ValueError("a round needs latencies, none negative, and a wall time above zero")
        if self.stopped_by not in ("enough", "cap"):
            raise ValueError(f"stopped_by is '{self.stopped_by}'; expected enough or cap")


@dataclass(frozen=True)
class Agreement:
    """How many pixels got the same class as in the reference, PyTorch FP32."""

    equal_pixels: int
    pixels: int

    def __post_init__(self) -> None:
        if not 0 <= self.equal_pixels <= self.pixels or self.pixels == 0:
            raise ValueError(f"{self.equal_pixels} equal of {self.pixels} pixels")

    @property
    def share(self) -> float:
        return self.equal_pixels / self.pixels


@dataclass(frozen=True)
class Measurement:
    """What was measured of a backend that ran.

    load_ms: from the file to a backend that takes frames. Importing PyTorch or ONNX Runtime is not
    in it; TensorRT's import is, for the first engine, since Engine.open does it.
    first_frame_ms: latency of the very first frame, which no round repeats.
    agreement: None without a reference. mean_iou: 0 to 1, None without labels.
    """

    load_ms: float
    first_frame_ms: float
    rounds: tuple[Round, ...]
    agreement: Agreement | None
    mean_iou: float | None

    def __post_init__(self) -> None:
        if not self.rounds:
            raise ValueError("a measurement needs at least one round")
        if self.mean_iou is not None and not 0 <= self.mean_iou <= 1:
            raise ValueError(f"mean_iou is {self.mean_iou}; expected 0 to 1")


@dataclass(frozen=True)
class Result:
    """One backend with one file: its measurement, or why it did not run here.

    description: of the library, version and device that ran it; empty where nothing ran.
    file, sha256, size_bytes: the model file, for PyTorch the weights.
    """

    name: str
    precision: str
    description: str
    file: str
    sha256: str
    size_bytes: int
    measurement: Measurement | None
    not_run: str | None

    def __post_init__(self) -> None:
        if (self.measurement is None) == (self.not_run is None):
            raise ValueError("a result needs either a measurement or the reason why it did not run")


@dataclass(frozen=True)
class Conditions:
    """What was asked of every backend.

    images: the names of the files. labels: the labelled split behind mean_iou, or None.
    height, width: of the frames that went in. threads: None leaves it to each library.
    seconds, minimum_count, cap_seconds, warm_up_ms: of each round, see benchmarks.scenarios.
    reference: the backend that agreement is measured against, or None.
    """

    scenario: str
    batch: int
    height: int
    width: int
    images: tuple[str, ...]
    labels: str | None
    reference: str | None
    threads: int | None
    rounds: int
    seconds: float
    minimum_count: int
    cap_seconds: float
    warm_up_ms: float


@dataclass(frozen=True)
class Gpu:
    """One GPU as nvidia-smi saw it before the first frame; None for what it does not report."""

    name: str
    driver: str
    sm_clock_mhz: float | None
    memory_clock_mhz: float | None
    power_w: float | None
    power_limit_w: float | None
    temperature_c: float | None


@dataclass(frozen=True)
class Environment:
    """The machine and the software.

    utc: ISO 8601, when the measurement began. cores: that this process may use.
    load_average: of the last minute before it; what other work the machine had.
    versions: of the installed packages that matter. commit: None outside a git checkout.
    """

    utc: str
    system: str
    python: str
    cpu: str
    cores: int
    load_average: float | None
    versions: Mapping[str, str]
    commit: str | None
    commit_is_dirty: bool | None
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True)
class Record:
    """One benchmark. command: the exact command line."""

    command: str
    conditions: Conditions
    environment: Environment
    results: tuple[Result, ...]

    def __post_init__(self) -> None:
        if not self.results:
            raise ValueError("a record needs at least one result")


def write_record(path: str | Path, record: Record) -> None:
    """Write the record as JSON, a round's latencies on one line; InputError if that fails."""
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
            "Give a file that `refinenet benchmark --json` wrote"
        )
    try:
        return parse(Record, content, "the record")
    except ValueError as error:
        raise InputError(f"{path} is not a benchmark record: {error}") from error
