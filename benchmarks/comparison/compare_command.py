"""`refinenet compare`: whether a second benchmark is slower, or less right, than a first."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.arguments import DONE, Parser
from runtime.errors import CheckFailed

if TYPE_CHECKING:
    from benchmarks.comparison.compare import Comparison, Outcome


def compare(arguments: Sequence[str]) -> int:
    """Print the comparison; CheckFailed if anything is slower, lost, or less accurate."""
    given = _compare_parser().parse_args(arguments)

    from benchmarks.comparison import compare as comparing
    from benchmarks.records.record import read_record

    first, second = (read_record(path) for path in (given.first, given.second))
    tolerance = comparing.TOLERANCE if given.tolerance is None else given.tolerance
    accuracy_tolerance = given.accuracy_tolerance
    if accuracy_tolerance is None:
        accuracy_tolerance = comparing.ACCURACY_TOLERANCE
    outcome = comparing.compare(first, second, tolerance, accuracy_tolerance)
    print("\n".join(lines(outcome)))
    if outcome.regressions:
        raise CheckFailed(
            f"{given.second} is worse than {given.first}: {'; '.join(outcome.regressions)}"
        )
    return DONE


def lines(outcome: Outcome) -> list[str]:
    """A table, what was lost, and the notes."""
    rows = [_cells(comparison) for comparison in outcome.comparisons]
    header = ("backend", "precision", "scenario", "batch", "size", "time", "95 % interval", "", "")
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return [
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (header, *rows)
        ),
        *(f"LOST: {line}" for line in outcome.lost),
        *(f"note: {line}" for line in outcome.notes),
    ]


def _cells(comparison: Comparison) -> tuple[str, ...]:
    ratio = comparison.ratio
    return (
        comparison.name,
        comparison.precision,
        comparison.scenario,
        str(comparison.batch),
        "{}x{}".format(*comparison.size),
        f"{ratio.estimate - 1:+.1%}",
        f"{ratio.low - 1:+.1%} to {ratio.high - 1:+.1%}",
        comparison.verdict,
        f"({comparison.by})",
    )


def _compare_parser() -> Parser:
    parser = Parser(
        "compare",
        "Two benchmark records: what is slower, faster or the same in the second. Exit code 1 if "
        "anything is slower, less accurate, or no longer runs.",
        "refinenet compare before.json after.json",
    )
    add = parser.add_argument
    add("first", type=Path, metavar="A.json", help="that refinenet benchmark --json wrote")
    add("second", type=Path, metavar="B.json", help="the same, later")
    add(
        "--tolerance",
        type=_share,
        metavar="SHARE",
        help="the change of time that does not matter (default: 0.05)",
    )
    add(
        "--accuracy-tolerance",
        type=_share,
        metavar="SHARE",
        help="the loss of agreement or mIoU that does not matter (default: 0.001)",
    )
    return parser


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"'{text}'; expected a share between 0 and 1, such as 0.05"
        )
    return value
