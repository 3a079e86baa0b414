"""`refinenet report`: benchmark records as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.arguments import DONE, Parser


@dataclass(frozen=True)
class ReportOptions:
    """records: files that `refinenet benchmark --json` wrote. markdown: a file with markers."""

    records: tuple[Path, ...]
    markdown: Path | None


def report(arguments: Sequence[str]) -> int:
    """Print records as tables, or put them into a Markdown file."""
    given = _report_parser().parse_args(arguments)
    options = ReportOptions(tuple(given.records), given.markdown)

    from benchmarks.record import read_record
    from benchmarks.report import insert_table, tables

    text = tables([read_record(path) for path in options.records])
    if options.markdown is None:
        print(text)
    else:
        insert_table(options.markdown, text)
        print(f"wrote {options.markdown}")
    return DONE


def _report_parser() -> Parser:
    parser = Parser(
        "report",
        "Benchmark records as Markdown tables.",
        "refinenet report record.json --markdown README.md",
    )
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD.json")
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="put the tables between <!-- benchmark:begin --> and <!-- benchmark:end --> in FILE",
    )
    return parser
