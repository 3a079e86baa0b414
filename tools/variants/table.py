"""The table of docs/variants.md, from its record."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import InputError
from runtime.files import existing_file, written_whole
from tools.variants.record import Row, Step, VariantsRecord, Verdict

BEGIN, END = "<!-- variants:begin -->", "<!-- variants:end -->"
PRECISIONS = ("fp32", "fp16", "int8")
HEADINGS = (
    ("variant", "---"),
    ("frames", "---"),
    ("precision", "---"),
    ("export, s", "---:"),
    ("CPU, s", "---:"),
    ("peak, GB", "---:"),
    ("ONNX, MB", "---:"),
    ("build, s", "---:"),
    ("engine, MB", "---:"),
    ("scores differ by", "---:"),
    ("equal pixels, %", "---:"),
    ("gate", "---"),
)


def fill_markdown(path: Path, record: VariantsRecord) -> None:
    """Put the table between the file's markers; InputError if it has none."""
    text = existing_file(path).read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise InputError(f"{path} has not one {BEGIN} and one {END}; put them where the table goes")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    with written_whole(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{table(record)}\n{END}{after}", encoding="utf-8")


def table(record: VariantsRecord) -> str:
    """Conditions and one line for every variant, kind of shapes and precision."""
    machine, versions = record.environment, record.environment.versions
    conditions = (
        f"{machine.cpu}, {machine.cores} cores; Python {machine.python}, "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        + f". INT8 calibrated on {record.calibration_images} photo(s). `{record.command}`"
    )
    lines = [
        conditions,
        "",
        "| " + " | ".join(name for name, _ in HEADINGS) + " |",
        "|" + "|".join(rule for _, rule in HEADINGS) + "|",
        *(_line(row, precision) for row in record.rows for precision in PRECISIONS),
    ]
    return "\n".join(lines)


def _line(row: Row, precision: str) -> str:
    steps = {step.stage: step for step in row.steps}
    verdict = next((entry for entry in row.verdicts if entry.stage == precision), None)
    shapes = "dynamic" if row.dynamic else "static"
    weights = "" if row.weights == "generated" else " (trained)"
    cells = [
        f"{row.variant}{weights}",
        f"{row.height}x{row.width} {shapes}",
        precision,
        *_file(steps.get(precision)),
        *_engine(steps.get(f"{precision}.rtx")),
        *_verdict(verdict, row),
    ]
    return "| " + " | ".join(cells) + " |"


def _file(step: Step | None) -> tuple[str, ...]:
    if step is None:
        return ("",) * 4
    return (
        f"{step.wall_s:.1f}",
        f"{step.cpu_s:.1f}",
        f"{step.peak_bytes / 1e9:.2f}",
        f"{step.size_bytes / 1e6:.1f}",
    )


def _engine(step: Step | None) -> tuple[str, ...]:
    return ("",) * 2 if step is None else (f"{step.wall_s:.1f}", f"{step.size_bytes / 1e6:.1f}")


def _verdict(verdict: Verdict | None, row: Row) -> tuple[str, ...]:
    if verdict is None:
        return "", "", f"NOT RUN: {row.error}" if row.error else "NOT RUN"
    return (
        "" if verdict.rms_error is None else f"{verdict.rms_error:.1e}",
        "" if verdict.pixel_agreement is None else f"{100 * verdict.pixel_agreement:.2f}",
        verdict.status + (f": {verdict.reason}" if verdict.reason else ""),
    )
