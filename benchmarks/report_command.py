"""`refinenet report`: benchmark records as tables, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.records.record import Record, read_record
from runtime.arguments import DONE, Parser, print_written
from runtime.files import written_whole


@dataclass(frozen=True)
class ReportOptions:
    """records: files that `refinenet benchmark --json` wrote. markdown: a file with markers.
    html: the page to write."""

    records: tuple[Path, ...]
    markdown: Path | None
    html: Path | None


def report(arguments: Sequence[str]) -> int:
    """Print records as tables, or put them into a Markdown file or onto a page."""
    given = _report_parser().parse_args(arguments)
    options = ReportOptions(tuple(given.records), given.markdown, given.html)

    from benchmarks.report import insert_table, tables

    records = [read_record(path) for path in options.records]
    if options.html is not None:
        _write_page(options.html, options.records, records)
    if options.markdown is not None:
        insert_table(options.markdown, tables(records))
        print(f"wrote {options.markdown}")
    if options.html is None and options.markdown is None:
        print(tables(records))
    return DONE


def _write_page(html: Path, paths: Sequence[Path], records: Sequence[Record]) -> None:
    from benchmarks.page.page import html_page
    from benchmarks.pictures import pictures_path, read_pictures

    beside = [pictures_path(path) for path in paths]
    pictures = [
        read_pictures(path, record) if path.exists() else None
        for path, record in zip(beside, records, strict=True)
    ]
    page = html_page(records, pictures)
    with written_whole(html) as temporary:
        temporary.write_text(page, encoding="utf-8")
    print_written(html)


def _report_parser() -> Parser:
    parser = Parser(
        "report",
        "Benchmark records as Markdown tables, and as one HTML page that needs no network.",
        "refinenet report record.json --html record.html",
    )
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD.json")
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write the page there, with the pictures beside the records, if there are any",
    )
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="put the tables between <!-- benchmark:begin --> and <!-- benchmark:end --> in FILE",
    )
    return parser
