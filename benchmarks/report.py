"""Records as a Markdown table, on its own or in its place in a document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.backends.backend import ONNX_RUNTIME_CPU
from benchmarks.records.conditions import conditions_text, machine_text
from benchmarks.records.record import Record
from benchmarks.rows import (
    Row,
    cut_short,
    entries,
    entry_title,
    held_back_by,
    lost,
    not_run,
    rows,
    says_nothing_of_a_gpu,
)
from runtime.errors import InputError
from runtime.files import existing_file, written_whole

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
FAILS = "🔴"  # the only red that Markdown has

COLUMNS = (
    *("backend", "precision", "median ms", "p90 ms", "p99 ms", "frames/s"),
    *("pixel agreement", "size MB"),
)
WORDS = ("backend", "precision")  # the columns without figures


def tables(records: Sequence[Record]) -> str:
    """For each record a table of each scenario, batch and size, and its conditions below."""
    return "\n\n".join(_report(record) for record in records)


def insert_table(markdown_file: str | Path, table: str) -> None:
    """Replace what stands between the two markers in a Markdown file.

    Raises InputError unless each marker stands in it once, the beginning before the end, and none
    in the table.
    """
    path = existing_file(markdown_file)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8; expected Markdown") from error
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(
            f"{path} lacks the place for the table: it needs the lines {BEGIN} and {END}, once each"
        )
    if BEGIN in table or END in table:
        raise InputError(f"a record holds the text {BEGIN} or {END}; it would break {path}")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with written_whole(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def _report(record: Record) -> str:
    measured = rows(record)
    found = entries(measured)
    blocks = []
    for entry in found or [[]]:
        if len(found) > 1:
            blocks.append(f"**{entry_title(entry[0])}**")
        blocks.append(_table(entry, measured))
    notes = _notes(record, measured)
    blocks += ["\n".join(notes)] if notes else []
    blocks += [conditions_text(record), machine_text(record)]
    words = "\n\n".join(blocks).replace("<", "&lt;")  # what a record says is no markup
    return f"{words}\n\n    {_one_line(record.command)}"


def _table(entry: Sequence[Row], measured: Sequence[Row]) -> str:
    """One table; the columns are those of the whole record, so that its tables look alike."""
    with_iou = any(row.accuracy and row.accuracy.mean_iou is not None for row in measured)
    with_limit = any(row.result.roofline for row in measured)
    columns = [*COLUMNS, *(["mIoU"] if with_iou else []), *(["of limit"] if with_limit else [])]
    lines = [_line(columns), _line(["---" if name in WORDS else "---:" for name in columns])]
    for row in entry:
        cells = _cells(row)
        lines.append(_line([cells[name] for name in columns]))
    return "\n".join(lines)


def _cells(row: Row) -> dict[str, str]:
    """One row's text by column."""
    latency, result = row.latency, row.result
    return {
        "backend": row.name,
        "precision": result.precision,
        "median ms": f"{latency.median_ms:.2f}",
        "p90 ms": _tail(latency.p90_ms, latency.p90_is_low_confidence),
        "p99 ms": _tail(latency.p99_ms, latency.p99_is_low_confidence),
        "frames/s": f"{row.frames_per_second:.2f}",
        "pixel agreement": _marked(row.agreement_text, row.pixel_fault),
        "size MB": f"{result.size_bytes / 1e6:.1f}",
        "mIoU": _marked(row.iou_text, row.iou_fault),
        "of limit": row.limit_text,
    }


def _marked(figure: str, fault: str | None) -> str:
    return f"{FAILS} {figure}" if fault else figure


def _tail(milliseconds: float, low_confidence: bool) -> str:
    return f"≈ {milliseconds:.2f}" if low_confidence else f"{milliseconds:.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _notes(record: Record, measured: Sequence[Row]) -> list[str]:
    """What a reader must know: what is wrong, did not run, ran short, or proves nothing."""
    faults = {row.title: row.faults for row in measured if row.faults}
    lines = [f"- {FAILS} FAILED: {title}: {'; '.join(found)}" for title, found in faults.items()]
    lines += [f"- LOST: {which}: {_one_line(error)}" for which, error in lost(record)]
    lines += [f"- CUT SHORT: {which}: {how_much}" for which, how_much in cut_short(measured)]
    if reasons := held_back_by(record):
        lines.append(f"- HELD BACK: the GPU during rounds: {', '.join(reasons)}")
    lines += [f"- NOT RUN: {which}: {reason}" for which, reason in not_run(record)]
    if any(says_nothing_of_a_gpu(row) for row in measured):
        lines.append(
            f"- {ONNX_RUNTIME_CPU} computes FP16 files in FP32 and INT8 files in integer kernels "
            "of its own: those rows say nothing of the same files on a GPU"
        )
    return lines
