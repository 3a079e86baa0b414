"""Records as a Markdown table, on its own or in its place in a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.backends import ONNX_RUNTIME_CPU
from benchmarks.latency import summarize
from benchmarks.record import Agreement, Measurement, Record, Result
from runtime.errors import InputError
from runtime.files import existing_file, written_whole

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"

COLUMNS = (
    *("backend", "precision", "median ms", "p90 ms", "p99 ms", "frames/s"),
    *("pixel agreement", "size MB"),
)


def tables(records: Sequence[Record]) -> str:
    """One table for each record, its conditions in the lines below it."""
    return "\n\n".join(_table(record) for record in records)


def insert_table(markdown_file: str | Path, table: str) -> None:
    """Replace what stands between the two markers in a Markdown file.

    Raises InputError unless each marker stands in it once, the beginning before the end.
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
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with written_whole(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def _table(record: Record) -> str:
    with_iou = any(r.measurement and r.measurement.mean_iou is not None for r in record.results)
    columns = (*COLUMNS, "mIoU") if with_iou else COLUMNS
    names = _names(record.results)
    rows = [
        _row(result, name, record.conditions.reference)[: len(columns)]
        for result, name in zip(record.results, names, strict=True)
    ]
    lines = [_line(columns), _line(["---", "---", *["---:"] * (len(columns) - 2)])]
    lines += [_line(row) for row in rows]
    return "\n".join([*lines, "", *_notes(record, names), *_conditions(record)])


def _names(results: Sequence[Result]) -> list[str]:
    """The backends' names, with the file's where name and precision would not tell two apart."""
    counts = Counter((result.name, result.precision) for result in results)
    return [
        f"{result.name} ({result.file})"
        if counts[result.name, result.precision] > 1
        else result.name
        for result in results
    ]


def _row(result: Result, name: str, reference: str | None) -> list[str]:
    size_mb = f"{result.size_bytes / 1e6:.1f}"
    if result.measurement is None:
        return [name, result.precision, "NOT RUN", *["-"] * 4, size_mb, "-"]
    latency = summarize(result.measurement.rounds)
    agreement = result.measurement.agreement
    return [
        name,
        result.precision,
        f"{latency.median_ms:.2f}",
        _tail(latency.p90_ms, latency.p90_is_low_confidence),
        _tail(latency.p99_ms, latency.p99_is_low_confidence),
        f"{latency.frames_per_second:.2f}",
        "reference" if result.name == reference else _percent(agreement),
        size_mb,
        _points(result.measurement),
    ]


def _tail(milliseconds: float, low_confidence: bool) -> str:
    return f"≈ {milliseconds:.2f}" if low_confidence else f"{milliseconds:.2f}"


def _percent(agreement: Agreement | None) -> str:
    """Rounded down, in whole numbers: 100.000 % is said of nothing that differs in one pixel."""
    if agreement is None:
        return "-"
    thousandths = agreement.equal_pixels * 100_000 // agreement.pixels
    return f"{thousandths // 1000}.{thousandths % 1000:03} %"


def _points(measurement: Measurement) -> str:
    return "-" if measurement.mean_iou is None else f"{100 * measurement.mean_iou:.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def _notes(record: Record, names: Sequence[str]) -> list[str]:
    """What a reader must know: what did not run, what ran short, what proves nothing."""
    lines = []
    not_run: dict[str, list[str]] = {}  # those that share a reason, by the reason
    for result, name in zip(record.results, names, strict=True):
        if result.not_run is not None:
            reason = " ".join(result.not_run.replace(result.file, "the file").split())
            not_run.setdefault(reason, []).append(f"{name} {result.precision}")
        elif result.measurement and (cut := _cut_short(result.measurement)):
            lines.append(f"- CUT SHORT: {name} {result.precision}: {cut}")
    lines += [f"- NOT RUN: {', '.join(which)}: {reason}" for reason, which in not_run.items()]
    if any(_says_nothing_of_a_gpu(result) for result in record.results):
        lines.append(
            f"- {ONNX_RUNTIME_CPU} computes FP16 files in FP32 and INT8 files in integer kernels "
            "of its own: those rows say nothing of the same files on a GPU"
        )
    return [*lines, ""] if lines else []


def _cut_short(measurement: Measurement) -> str:
    rounds = measurement.rounds
    cut = sum(entry.stopped_by == "cap" for entry in rounds)
    frames = sum(len(entry.latencies_ms) for entry in rounds)
    return (
        f"{cut} of {len(rounds)} rounds reached the time cap, {frames} frames in all" if cut else ""
    )


def _says_nothing_of_a_gpu(result: Result) -> bool:
    on_cpu = result.measurement is not None and result.name == ONNX_RUNTIME_CPU
    return on_cpu and result.precision != "fp32"


def _conditions(record: Record) -> list[str]:
    asked, machine = record.conditions, record.environment
    threads = f"{asked.threads} threads" if asked.threads else "threads by each library's default"
    images = f"{len(asked.images)} real image{'s' if len(asked.images) > 1 else ''}"
    how = [
        f"Scenario `{asked.scenario}` (MLPerf-style), batch {asked.batch}, {images} at "
        f"{asked.height}x{asked.width}",
        f"latency from a uint8 frame to a uint8 mask, both in host memory, {threads}",
        f"{asked.rounds} interleaved rounds of at least {asked.seconds:g} s and "
        f"{asked.minimum_count} frames, at most {asked.cap_seconds:g} s, after warm-up",
        *([f"pixel agreement with {asked.reference} in FP32"] if asked.reference else []),
        *([f"mIoU on {asked.labels}"] if asked.labels else []),
    ]
    gpus = [f"{gpu.name}, driver {gpu.driver}" for gpu in machine.gpus] or ["no GPU"]
    load = "" if machine.load_average is None else f", load average {machine.load_average:g} before"
    versions = ", ".join(f"{package} {found}" for package, found in machine.versions.items())
    commit = (machine.commit or "")[:12] + (" with changes" if machine.commit_is_dirty else "")
    where = [
        f"{machine.cpu}, {machine.cores} cores{load}",
        *gpus,
        f"{machine.system}, Python {machine.python}, {versions}",
        *([f"commit {commit}"] if commit else []),
        machine.utc,
    ]
    return [
        "; ".join(how) + ". ≈ marks low confidence: fewer than 100 samples lie beyond it.",
        "",
        "; ".join(where) + ".",
        "",
        f"    {record.command}",
    ]
