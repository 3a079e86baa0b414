"""The claims that can be checked on any machine, each with a history of its figures.

python -m tools.claims                       all of them, a line added to each history
python -m tools.claims export-cost --variants refinenet-101
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from benchmarks.host.environment import environment
from refinenet.variants import split_variant
from runtime.arguments import DONE, Parser, positive, run_command, size
from runtime.errors import InputError
from tools.export_cost import export_cost
from tools.history import FOLDER, append, entry, reference_ms
from tools.import_time import STATEMENTS, import_times
from tools.python_share import CASES, python_share

PROGRAM = "python -m tools.claims"
FRAMES_PER_ROUND = 200
Figures = Mapping[str, float]


def _import_time(given: argparse.Namespace) -> Figures:
    times = import_times(given.rounds)
    return {
        f"{name}_cpu_ms": round(times.added_ms(name), 2) for name in STATEMENTS if name != "base"
    }


def _python_share(given: argparse.Namespace) -> Figures:
    share = python_share(given.rounds, FRAMES_PER_ROUND)
    return {f"{case}, cpu_us per frame": round(share.median_us(case), 2) for case in CASES}


def _export_cost(variant: str, given: argparse.Namespace) -> Figures:
    return export_cost(variant, given.size)


PLAIN = MappingProxyType({"import-time": _import_time, "python-share": _python_share})
EXPORT_COST = "export-cost"
CLAIMS = (EXPORT_COST, *PLAIN)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(_measure, PROGRAM, sys.argv[1:] if arguments is None else arguments)


def _measure(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    chosen = given.claims or CLAIMS
    measures: dict[str, Callable[[argparse.Namespace], Figures]] = {
        name: measure for name, measure in PLAIN.items() if name in chosen
    }
    if EXPORT_COST in chosen:
        measures |= {
            f"{EXPORT_COST}-{variant}": partial(_export_cost, variant) for variant in given.variants
        }
    command, machine = shlex.join((*PROGRAM.split(), *arguments)), environment()
    for name, measure in measures.items():
        workload_ms = reference_ms()
        figures = measure(given)
        append(given.history / f"{name}.jsonl", entry(command, machine, figures, workload_ms))
        print(name)
        for figure, value in figures.items():
            print(f"  {figure:<32} {value:g}")
    return DONE


def _parser() -> Parser:
    parser = Parser(
        "", "Measure the claims, and add a line to the history of each.", f"{PROGRAM} import-time"
    )
    parser.prog = PROGRAM
    parser.add_argument("claims", nargs="*", type=_claim, metavar="CLAIM", help=", ".join(CLAIMS))
    parser.add_argument(
        "--variants",
        type=_variants,
        default=("lw-mobilenetv2",),
        help="of export-cost, as in lw-50,refinenet-101 (default: lw-mobilenetv2)",
    )
    parser.add_argument("--size", type=size, default=(360, 480), help="HEIGHTxWIDTH of export-cost")
    parser.add_argument("--rounds", type=positive, default=15, help="of the others (default: 15)")
    parser.add_argument(
        "--history", type=Path, default=FOLDER, help=f"folder of the histories (default: {FOLDER})"
    )
    return parser


def _claim(text: str) -> str:
    if text not in CLAIMS:
        raise argparse.ArgumentTypeError(f"'{text}'; expected {', '.join(CLAIMS)}")
    return text


def _variants(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    try:
        for name in names:
            split_variant(name)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return names


if __name__ == "__main__":
    sys.exit(main())
