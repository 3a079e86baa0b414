"""`refinenet benchmark`: speed and agreement with PyTorch."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks.records.measurements import MULTI, SCENARIOS, SERVER, SINGLE
from runtime.arguments import DONE, Parser, choices, positive, size, whole
from runtime.errors import DeviceError, InputError
from runtime.files import output_folder

if TYPE_CHECKING:  # measuring needs torch's datasets; --help does not
    from benchmarks.measure import BenchmarkOptions
    from benchmarks.records.measurements import Measurement
    from benchmarks.records.record import Record

# As in torch_backends.VARIANTS and backends.PROVIDERS, which --help does not import.
OF_WEIGHTS = ("torch", "torch-autocast", "torch-compile", "aotinductor", "torch-tensorrt")
OF_MODELS = ("onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt", "onnxruntime-rtx")
AGAINST = (*OF_WEIGHTS, *OF_MODELS, "all")
T = TypeVar("T")


def benchmark(arguments: Sequence[str]) -> int:
    """Measure models and print the table; DeviceError if none of them could run here."""
    given = _benchmark_parser().parse_args(arguments)
    json_file: Path | None = given.json
    if json_file is not None:  # better now than after minutes of measuring
        _check_output(json_file)
    options = _benchmark_options(given)

    from benchmarks.measure import measure
    from benchmarks.records.record import write_record
    from benchmarks.report import tables

    command = shlex.join(("refinenet", "benchmark", *arguments))
    record = measure(options, command, quiet=given.quiet)
    if json_file is not None:
        write_record(json_file, record)
    if given.roofline:
        from benchmarks.roofline.measure_roofline import with_roofline

        record = with_roofline(record, options.models)
        if json_file is not None:  # again: nothing measured is lost where the roofline fails
            write_record(json_file, record)
    print(tables([record]))
    _check_some_ran(record)
    if not given.quiet:
        print("\n".join(["", *endings(record)]))
    return DONE


def endings(record: Record) -> list[str]:
    """Why the rounds of every measurement ended, a line each."""
    from benchmarks.rows import names_of

    return [
        f"{name} {result.precision}, {entry.scenario}, batch {entry.batch}, "
        f"{entry.height}x{entry.width}: {_ending(entry)}"
        for result, name in zip(record.results, names_of(record.results), strict=True)
        for entry in result.measurements
    ]


def _ending(entry: Measurement) -> str:
    if entry.not_run is not None:
        return f"NOT RUN: {entry.not_run}"
    if entry.error is not None:
        return f"LOST after {len(entry.rounds)} rounds: {entry.error}"
    reasons = {
        "stable": "the median is stable",
        "time": "the time is over and the median not yet stable",
        "rounds": "the rounds asked for",
    }
    return f"{len(entry.rounds)} rounds: {reasons[entry.stopped_by or 'rounds']}"


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
    add(
        "--factory",
        metavar="MODULE:FUNCTION",
        help="what makes the network that the models were exported from, as given to export",
    )
    add(
        "--against",
        type=choices(*AGAINST),
        metavar="NAMES",
        help=f"what else to measure, some of {', '.join(AGAINST)}; all for all of them "
        "(default: torch, if there are --weights or a --factory; .onnx files always run on ONNX "
        "Runtime's CPU)",
    )
    add(
        "--size",
        type=listed(size),
        default=(),
        metavar="HEIGHTxWIDTH,…",
        help="of the frames (default: those that the models were exported for)",
    )
    add(
        "--batch",
        type=listed(positive),
        default=(1,),
        metavar="N,…",
        help="frames in one call, for offline and multi (default: 1)",
    )
    add("--data", type=Path, help="folder of a labelled data set, for mIoU")
    add("--dataset", help="see docs/datasets.md (default: camvid)")
    add("--split", help="its split (default: val)")
    add(
        "--scenario",
        type=choices(*SCENARIOS),
        default=(SINGLE,),
        metavar="NAMES",
        help="some of single: one frame at a time; multi: queries of --streams frames; server: "
        "random arrivals; offline: as many as can be (default: single)",
    )
    add(
        "--streams",
        type=positive,
        metavar="N",
        help="frames in a query of multi, rounded up to full batches (default: 8)",
    )
    add(
        "--latency-bound",
        type=above_zero,
        metavar="MS",
        help="server: the highest rate of arrivals is sought whose p99 stays within this",
    )
    add("--seed", type=whole, metavar="N", help="of the arrivals of server (default: 0)")
    add("--threads", type=positive, help="of every CPU backend (default: each library's own)")
    add("--seconds", type=above_zero, default=0.5, help="least time of a round (default: 0.5)")
    add(
        "--rounds", type=positive, default=10, help="that every backend gets at least (default: 10)"
    )
    add(
        "--stable-within",
        type=above_zero,
        default=0.02,
        metavar="SHARE",
        help="no more rounds, once every median's 95 %% interval is as narrow (default: 0.02)",
    )
    add(
        "--limit-seconds",
        type=above_zero,
        default=60.0,
        help="no further rounds after this, stable or not; of a server, an eighth for each of the "
        "eight rates that every backend is tried at (default: 60)",
    )
    add(
        "--total-seconds",
        type=above_zero,
        metavar="SECONDS",
        help="of everything: after half of it no backend is opened, after it no round begun, and "
        "what is left is NOT RUN (default: no end)",
    )
    add("--json", type=Path, metavar="FILE", help="write the record with every latency")
    add(
        "--roofline",
        action="store_true",
        help="measure the machine's peak too, and how near each backend comes to it",
    )
    add(
        "--pictures",
        action="store_true",
        help="keep a few frames and all masks of them beside the record, for the page",
    )
    return parser


def _benchmark_options(given: argparse.Namespace) -> BenchmarkOptions:
    from benchmarks.images import Labels
    from benchmarks.measure import BenchmarkOptions
    from benchmarks.pictures import pictures_path
    from benchmarks.scenarios.plan import Load
    from benchmarks.scenarios.rounds import Patience
    from benchmarks.scenarios.scenarios import StopRule

    _check_used(given)
    against = given.against or ("torch",)
    labels = Labels(given.dataset or "camvid", given.data, given.split or "val")
    return BenchmarkOptions(
        models=tuple(given.models),
        weights=given.weights,
        factory=given.factory,
        images=given.images,
        labels=labels if given.data else None,
        against=tuple(word for word in AGAINST if word in against or "all" in against),
        limit=given.limit,
        scenarios=given.scenario,
        batches=given.batch,
        sizes=given.size,
        threads=given.threads,
        # A backend so slow that it misses the count still ends, with its few frames on record.
        rule=StopRule(seconds=given.seconds, cap_seconds=20 * given.seconds),
        patience=Patience(given.rounds, given.stable_within, given.limit_seconds),
        load=Load(given.latency_bound, given.streams or Load.streams, given.seed or 0),
        total_seconds=given.total_seconds,
        pictures=pictures_path(given.json) if given.pictures else None,
    )


def _check_used(given: argparse.Namespace) -> None:
    """Raises InputError for an option that would change nothing, or lacks the one it needs."""
    if given.pictures and given.json is None:
        raise InputError("--pictures are kept beside a record; give --json FILE too")
    needs_weights = [word for word in given.against or () if word in (*OF_WEIGHTS, "all")]
    if needs_weights and given.weights is None and given.factory is None:
        raise InputError(
            f"--against {needs_weights[0]} needs the weights that the models were exported from; "
            "give --weights FILE, or a shipped name such as lw-mobilenetv2-camvid, or --factory "
            "module:function"
        )
    of_labels = [word for word in ("dataset", "split") if getattr(given, word) is not None]
    if of_labels and given.data is None:
        raise InputError(f"--{of_labels[0]} says which labels; give --data FOLDER too")
    for option, scenario in (("streams", MULTI), ("latency_bound", SERVER), ("seed", SERVER)):
        if getattr(given, option) is not None and scenario not in given.scenario:
            raise InputError(
                f"--{option.replace('_', '-')} is for the scenario {scenario}, which --scenario "
                "does not ask for"
            )


def above_zero(text: str) -> float:
    """A finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}'; expected a number above zero, such as 0.5")
    return value


def listed(kind: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    """A comma-separated list, each entry once."""

    def parse(text: str) -> tuple[T, ...]:
        return tuple(dict.fromkeys(kind(word.strip()) for word in text.split(",")))

    return parse


def _check_output(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected the name of a file to write")
    output_folder(path.parent)


def _check_some_ran(record: Record) -> None:
    if not any(entry.rounds for result in record.results for entry in result.measurements):
        raise DeviceError(
            f"none of the {len(record.results)} backends could run here, for the reasons above; "
            "see refinenet doctor"
        )
