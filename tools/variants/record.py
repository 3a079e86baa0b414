"""The record behind docs/variants.md: what every variant costs to export and build, and whether it
passes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.records.machine import Environment
from benchmarks.records.strict_json import parse, read_object
from runtime.errors import InputError
from runtime.files import written_whole

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Step:
    """One file that a command wrote.

    stage: fp32, fp16, int8, or an engine such as fp16.rtx. wall_s, cpu_s: since the file before
    it, or since the command's start, Python's own start included. peak_bytes: of the process's
    resident memory, up to then. size_bytes: of the file.
    """

    stage: str
    wall_s: float
    cpu_s: float
    peak_bytes: int
    size_bytes: int


@dataclass(frozen=True)
class Verdict:
    """What verify said of one stage: passed, FAILED or NOT RUN, and why.

    rms_error: of the scores against the stage before, in standard deviations. pixel_agreement: the
    share of equal pixels. None where the stage was not run, or its scores are not finite.
    """

    stage: str
    status: str
    reason: str
    rms_error: float | None
    pixel_agreement: float | None


@dataclass(frozen=True)
class Row:
    """One variant, with static or dynamic shapes.

    weights: the name of the shipped ones, or "generated". weights_bytes: of their file.
    verify_s: wall time of verify. error: what ended the work early, None if nothing did.
    """

    variant: str
    dynamic: bool
    height: int
    width: int
    weights: str
    weights_bytes: int
    steps: tuple[Step, ...]
    verdicts: tuple[Verdict, ...]
    verify_s: float | None
    error: str | None

    @property
    def key(self) -> tuple[str, bool]:
        return self.variant, self.dynamic


@dataclass(frozen=True)
class VariantsRecord:
    """command: that made it. calibration_images: photos, whose ranges INT8 is made with."""

    command: str
    environment: Environment
    calibration_images: int
    rows: tuple[Row, ...]


def write_variants(path: Path, record: VariantsRecord) -> None:
    """Write the record as JSON; InputError if that fails."""
    content = {"schema_version": SCHEMA_VERSION, **asdict(record)}
    with written_whole(path) as temporary:
        text = json.dumps(content, indent=1, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_variants(path: Path) -> VariantsRecord:
    """Read a record; InputError if it is not exactly what write_variants writes."""
    content = read_object(path)
    version = content.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema {version!r}; this version reads schema {SCHEMA_VERSION}. "
            "Delete it and measure anew"
        )
    try:
        return parse(VariantsRecord, content, "the record")
    except ValueError as error:
        raise InputError(f"{path} is no record of the variants: {error}") from error
