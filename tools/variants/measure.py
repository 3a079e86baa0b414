"""Every variant through the whole path, static and dynamic.

For each: export to FP32, FP16 and INT8, an engine of each by TensorRT-RTX (which needs no GPU), and
verify by the design's gates: those for trained weights where weights ship, else those for untrained
ones. Every row is written as soon as it is there, and a run that is started again goes on where the
last one stopped.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
from tqdm import tqdm

from benchmarks.host.environment import environment
from refinenet.checkpoints.load import weights_path
from refinenet.variants import VARIANTS
from runtime.arguments import DONE, Parser, choices, run_command
from runtime.errors import CheckFailed, DeployError, InputError
from runtime.files import output_folder
from runtime.frames import Frame, read_frame
from tools.timed_command import Finished, run
from tools.variants.record import (
    Row,
    Step,
    VariantsRecord,
    Verdict,
    read_variants,
    write_variants,
)
from tools.variants.table import fill_markdown

SIZES = MappingProxyType({"refinenet-101": (512, 512)})
SMALL_SIZE = (256, 320)  # of all other RefineNets, so that the whole run takes minutes
COMPARED_SIZE = (96, 128)  # of the networks that they are compared with, some of which cost much
TRAINED = MappingProxyType({"lw-mobilenetv2": "lw-mobilenetv2-camvid"})
PHOTO = Path(__file__).resolve().parents[2] / "demo/china.jpg"
CALIBRATION_IMAGES = 1
GENERATED = "generated"


@dataclass(frozen=True)
class Job:
    """One row to be measured."""

    variant: str
    dynamic: bool

    @property
    def size(self) -> tuple[int, int]:
        small = SMALL_SIZE if VARIANTS[self.variant].chained_pooling else COMPARED_SIZE
        return SIZES.get(self.variant, small)


def main(arguments: Sequence[str]) -> int:
    """python -m tools.variants: exit code 1 if a row fails."""
    parser = Parser("variants", __doc__ or "", "python -m tools.variants --json FILE")
    parser.prog = "python -m tools.variants"
    parser.add_argument("--json", type=Path, metavar="FILE", help="the record, continued if there")
    parser.add_argument(
        "--variants", type=choices(*VARIANTS), default=tuple(VARIANTS), metavar="NAME,…"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="fill the table in there")
    given = parser.parse_args(arguments)
    if given.json is None:
        raise InputError("no record named; give --json FILE")
    record = _record(given.json, shlex.join(("python", "-m", "tools.variants.measure", *arguments)))
    jobs = [Job(variant, dynamic) for variant in given.variants for dynamic in (False, True)]
    done = {row.key for row in record.rows if row.error is None}  # the others are tried again
    left = [job for job in jobs if (job.variant, job.dynamic) not in done]
    for job in tqdm(left, desc="variants", unit="row", disable=given.quiet or None):
        row = measured(job)
        others = (other for other in record.rows if other.key != row.key)
        record = replace(record, rows=(*others, row))
        write_variants(given.json, record)
    if given.markdown is not None:
        fill_markdown(given.markdown, record)
    if failed := [row for row in record.rows if not passed(row)]:
        raise CheckFailed(f"{len(failed)} of {len(record.rows)} rows failed, {failed[0].key} first")
    return DONE


def passed(row: Row) -> bool:
    return row.error is None and all(verdict.status != "FAILED" for verdict in row.verdicts)


def measured(job: Job) -> Row:
    """Everything about one variant; the large files are gone afterwards."""
    height, width = job.size
    with tempfile.TemporaryDirectory(prefix="variants-") as folder:
        row = Row(job.variant, job.dynamic, height, width, "", 0, (), (), None, None)
        try:
            return _measured(row, Path(folder))
        except DeployError as error:
            return replace(row, weights=TRAINED.get(job.variant, GENERATED), error=str(error))


def _measured(row: Row, folder: Path) -> Row:
    photo = folder / "photo.png"  # at the size of the row: a dynamic file takes it as it is
    cv2.imwrite(str(photo), _resized(read_frame(PHOTO), (row.height, row.width)))
    weights = _weights(row.variant, folder, photo)
    size = f"{row.height}x{row.width}"
    kind = ("--dynamic",) if row.dynamic else ()
    common = ("--output", str(folder), "--name", "v", "--size", size, *kind, "--quiet")
    exported = _checked(run(("refinenet", "export", weights, *common, "--calibration", str(photo))))
    files = [str(path) for path, _ in exported.written]
    built = _checked(run(("refinenet", "build", *files, "--runtime", "rtx", "--quiet")))
    steps = (*_steps(exported), *_steps(built))
    trained = row.variant in TRAINED
    results = folder / "verify.json"
    judge = () if trained else ("--untrained",)
    asked = ("--weights", weights, "--images", str(photo), "--json", str(results), "--quiet")
    verified = _checked(run(("refinenet", "verify", str(folder), *asked, *judge)), failing=1)
    stages = json.loads(results.read_text(encoding="utf-8"))["stages"]
    return replace(
        row,
        weights=weights if trained else GENERATED,
        weights_bytes=weights_path(weights).stat().st_size,
        steps=steps,
        verdicts=tuple(_verdict(stage) for stage in stages),
        verify_s=round(verified.whole.wall_s, 2),
    )


def _weights(variant: str, folder: Path, photo: Path) -> str:
    if variant in TRAINED:
        return TRAINED[variant]
    path = folder / "weights.safetensors"
    _checked(run(("tools.variants.generated_weights", variant, str(path), str(photo))))
    return str(path)


def _checked(finished: Finished, failing: int = 0) -> Finished:
    """The process, if it ended well, or with the exit code that stands for a failed check."""
    if finished.exit_code not in (0, failing):
        raise DeployError(finished.message or f"exit code {finished.exit_code}")
    return finished


def _steps(finished: Finished) -> list[Step]:
    return [
        Step(
            stage=path.name.removeprefix("v.").removesuffix(path.suffix),
            wall_s=round(cost.wall_s, 2),
            cpu_s=round(cost.cpu_s, 2),
            peak_bytes=cost.peak_bytes,
            size_bytes=path.stat().st_size,
        )
        for path, cost in finished.written
    ]


def _verdict(stage: dict[str, Any]) -> Verdict:
    measures = stage["measures"]
    return Verdict(
        stage["name"],
        stage["status"],
        stage["reason"],
        measures.get("scores_rms_error"),
        measures.get("pixel_agreement"),
    )


def _resized(frame: Frame, size: tuple[int, int]) -> Frame:
    height, width = size
    resized: Frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return resized


def _record(path: Path, command: str) -> VariantsRecord:
    """The record to go on with, or a new one; InputError if it is of another machine or commit."""
    output_folder(path.parent)
    now = environment()
    if not path.exists():
        return VariantsRecord(command, now, CALIBRATION_IMAGES, ())
    record = read_variants(path)
    # The record itself makes the checkout dirty.
    if record.environment != replace(now, commit_is_dirty=record.environment.commit_is_dirty):
        raise InputError(
            f"{path} was begun on another machine, with other packages or at another commit; "
            "name another file, or delete it"
        )
    return record


if __name__ == "__main__":
    sys.exit(run_command(main, "python -m tools.variants", sys.argv[1:]))
