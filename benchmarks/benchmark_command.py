"""`refinenet benchmark`: speed and agreement with PyTorch."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.arguments import DONE, Parser, choices, positive, size
from runtime.errors import DeviceError, InputError
from runtime.files import output_folder

if TYPE_CHECKING:  # measuring needs torch's datasets; --help does not
    from benchmarks.measure import BenchmarkOptions
    from benchmarks.record import Record


def benchmark(arguments: Sequence[str]) -> int:
    """Measure models and print the table; DeviceError if none of them could run here."""
    given = _benchmark_parser().parse_args(arguments)
    json_file: Path | None = given.json
    if json_file is not None:  # better now than after minutes of measuring
        _check_output(json_file)
    options = _benchmark_options(given)

    from benchmarks.measure import measure
    from benchmarks.record import write_record
    from benchmarks.report import tables

    command = shlex.join(("refinenet", "benchmark", *arguments))
    record = measure(options, command, quiet=given.quiet)
    if json_file is not None:
        write_record(json_file, record)
    print(tables([record]))
    _check_some_ran(record)
    return DONE


def _benchmark_parser() -> Parser:
    parser = Parser(
        "benchmark",
        "Latency, throughput and agreement with PyTorch of models, on real images.",
        "refinenet benchmark build --weights lw-mobilenetv2-camvid --images photos "
        "--json record.json",
    )
    add = parser.add_argument
    add("models", nargs="+", type=Path, metavar="MODEL", help=".onnx, .engine, or a folder of them")
    add("--images", type=Path, help="an image or a folder of images (default: those of --data)")
    add(
        "--limit", type=positive, metavar="N", help="at most N images, evenly spaced (default: all)"
    )
    add("--weights", help="what the models were exported from: a file, or a shipped name")
    add("--against", type=choices("torch"), help="compare with torch (default with --weights)")
    add("--size", type=size, help="HEIGHTxWIDTH of the frames, for models that take any")
    add("--data", type=Path, help="folder of a labelled data set, for mIoU")
    add("--dataset", default="camvid", help="see docs/datasets.md (default: camvid)")
    add("--split", default="val", help="its split (default: val)")
    add("--scenario", choices=("single",), default="single", help="one frame at a time")
    add("--threads", type=positive, help="of every CPU backend (default: each library's own)")
    add("--seconds", type=_seconds, default=3.0, help="least time of a round (default: 3)")
    add("--rounds", type=positive, default=3, help="turns that every backend gets (default: 3)")
    add("--json", type=Path, metavar="FILE", help="write the record with every latency")
    return parser


def _benchmark_options(given: argparse.Namespace) -> BenchmarkOptions:
    from benchmarks.images import Labels
    from benchmarks.measure import BenchmarkOptions
    from benchmarks.scenarios import StopRule

    if given.against and given.weights is None:
        raise InputError(
            "--against torch needs the weights that the models were exported from; "
            "give --weights FILE, or a shipped name such as lw-mobilenetv2-camvid"
        )
    return BenchmarkOptions(
        models=tuple(given.models),
        weights=given.weights,
        images=given.images,
        labels=Labels(given.dataset, given.data, given.split) if given.data else None,
        limit=given.limit,
        size=given.size,
        scenario=given.scenario,
        threads=given.threads,
        rounds=given.rounds,
        # A backend so slow that it misses the count still ends, with its few frames on record.
        rule=StopRule(seconds=given.seconds, cap_seconds=10 * given.seconds),
    )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}'; expected seconds above zero, such as 3")
    return value


def _check_output(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected the name of a file to write")
    output_folder(path.parent)


def _check_some_ran(record: Record) -> None:
    if all(result.measurement is None for result in record.results):
        raise DeviceError(
            f"none of the {len(record.results)} models could run here, for the reasons above; "
            "see refinenet doctor"
        )
