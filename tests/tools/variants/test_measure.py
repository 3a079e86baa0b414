"""docs/variants.md shows its record, and the program behind it records what commands do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.host.environment import environment
from refinenet.checkpoints.load import load_checkpoint
from refinenet.data.network_input import to_input
from refinenet.variants import VARIANTS
from runtime.errors import CheckFailed, InputError
from runtime.frames import Frame, read_frame
from runtime.normalization import IMAGENET
from tools.timed_command import run
from tools.variants import measure as variants
from tools.variants import table as variants_table
from tools.variants.generated_weights import write_generated
from tools.variants.measure import SIZES, Job, passed
from tools.variants.record import (
    Row,
    Step,
    VariantsRecord,
    Verdict,
    read_variants,
    write_variants,
)

ROOT = Path(__file__).resolve().parents[3]
RECORD = ROOT / "benchmarks/results/variants.json"
DOCS = ROOT / "docs/variants.md"


@pytest.fixture
def row() -> Row:
    return Row(
        variant="lw-50",
        dynamic=True,
        height=256,
        width=320,
        weights="generated",
        weights_bytes=109_000_000,
        steps=(
            Step("fp32", 20.04, 31.26, 1_500_000_000, 109_400_000),
            Step("fp32.rtx", 4.02, 6.0, 900_000_000, 120_000_000),
        ),
        verdicts=(
            Verdict("fp32", "passed", "", 1.2e-6, 0.99999),
            Verdict("int8", "FAILED", "scores differ", None, 0.25),
        ),
        verify_s=12.0,
        error=None,
    )


@pytest.fixture
def record(row: Row) -> VariantsRecord:
    return VariantsRecord("python -m tools.variants", environment(), 1, (row,))


def test_the_record_is_read_as_it_was_written(record: VariantsRecord, tmp_path: Path) -> None:
    write_variants(tmp_path / "record.json", record)
    assert read_variants(tmp_path / "record.json") == record


def test_a_line_for_every_precision(record: VariantsRecord) -> None:
    *_, fp32, fp16, int8 = variants_table.table(record).splitlines()
    assert fp32 == (
        "| lw-50 | 256x320 dynamic | fp32 | 20.0 | 31.3 | 1.50 | 109.4 | 4.0 | 120.0 "
        "| 1.2e-06 | 100.00 | passed |"
    )
    assert fp16.endswith("| fp16 |  |  |  |  |  |  |  |  | NOT RUN |")
    assert int8.endswith("|  | 25.00 | FAILED: scores differ |")


def test_what_ended_a_row_stays_visible(record: VariantsRecord, row: Row) -> None:
    broken = replace(row, steps=(), verdicts=(), error="the disk is full")
    table = variants_table.table(replace(record, rows=(broken,)))
    assert table.count("NOT RUN: the disk is full") == 3
    assert not passed(broken)


def test_a_failed_gate_is_no_pass(row: Row) -> None:
    assert not passed(row)
    assert passed(replace(row, verdicts=row.verdicts[:1]))


def test_the_table_goes_between_the_markers(record: VariantsRecord, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{variants_table.BEGIN}\nold\n{variants_table.END}\nafter\n")
    variants_table.fill_markdown(page, record)
    variants_table.fill_markdown(page, record)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert text.count("| lw-50 |") == 3
    page.write_text("no markers")
    with pytest.raises(InputError, match="put them where the table goes"):
        variants_table.fill_markdown(page, record)


def test_a_record_of_another_machine_is_not_continued(
    record: VariantsRecord, tmp_path: Path
) -> None:
    path = tmp_path / "record.json"
    elsewhere = replace(record.environment, cpu="another")
    write_variants(path, replace(record, environment=elsewhere))
    with pytest.raises(InputError, match="begun on another machine"):
        variants.main(["--json", str(path), "--variants", "lw-50", "--quiet"])


def test_a_run_goes_on_where_it_stopped(record: VariantsRecord, row: Row, tmp_path: Path) -> None:
    path, page = tmp_path / "record.json", tmp_path / "page.md"
    page.write_text(f"{variants_table.BEGIN}\n{variants_table.END}\n")
    good = replace(row, verdicts=row.verdicts[:1])
    done = replace(record, rows=(replace(good, dynamic=False), good))
    write_variants(path, done)
    asked = ["--json", str(path), "--variants", "lw-50", "--quiet", "--markdown", str(page)]
    assert variants.main(asked) == 0  # at once: nothing is left to do
    assert read_variants(path) == done
    assert page.read_text(encoding="utf-8").count("| lw-50 |") == 6
    write_variants(path, replace(record, rows=(replace(row, dynamic=False), row)))
    with pytest.raises(CheckFailed, match="2 of 2 rows failed"):
        variants.main(asked)


def test_a_command_is_timed_at_every_file_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "writer.py").write_text(
        "import time\n"
        f"print('{tmp_path}/a.onnx  1.0 MB')\n"
        "time.sleep(0.2)\n"
        "ballast = bytearray(60_000_000)\n"
        f"print('{tmp_path}/b.rtx.engine  1.0 MB; a remark')\n"
        "raise SystemExit('the reason')\n"
    )
    finished = run(("writer",))
    assert (finished.exit_code, finished.message) == (1, "the reason")
    (first, start), (second, later) = finished.written
    assert (first.name, second.name) == ("a.onnx", "b.rtx.engine")
    assert later.wall_s >= 0.2
    assert later.peak_bytes >= start.peak_bytes + 50_000_000
    assert finished.whole.wall_s >= start.wall_s + later.wall_s


def test_a_command_that_complains_a_lot_and_ends_at_once_is_timed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "complaining.py").write_text(
        "import os, sys\n"
        "print('warning\\n' * 100_000, file=sys.stderr)\n"
        "os.write(1, b'a.onnx  1.0 MB\\n' * 2000)\n"
        "os._exit(0)\n"
    )
    finished = run(("complaining",))
    assert (finished.exit_code, finished.message) == (0, "warning")
    assert len(finished.written) == 2000
    assert finished.whole.peak_bytes >= max(cost.peak_bytes for _, cost in finished.written) > 0


def test_generated_weights_are_the_same_every_time(tmp_path: Path, photo: Path) -> None:
    frame: Frame = read_frame(photo)[::8, ::8]
    one, other = (
        write_generated("lw-mobilenetv2", tmp_path / name, frame)
        for name in ("a.safetensors", "b.safetensors")
    )
    assert one.read_bytes() == other.read_bytes()
    network, card = load_checkpoint(one)
    with torch.inference_mode():
        scores = network(to_input(frame, IMAGENET)[None])
    assert scores.isfinite().all()
    assert 1e-3 < scores.std() < 100
    assert len(card.classes) == scores.shape[1] == 21


def test_refinenet_101_is_measured_at_the_size_of_the_promise() -> None:
    assert SIZES == {"refinenet-101": (512, 512)}
    assert Job("refinenet-101", False).size == (512, 512)


@pytest.mark.skipif(not RECORD.exists(), reason="the variants have not been measured yet")
def test_the_docs_show_the_committed_record() -> None:
    record = read_variants(RECORD)
    text = DOCS.read_text(encoding="utf-8")
    shown = text.split(variants_table.BEGIN)[1].split(variants_table.END)[0].strip()
    assert shown == variants_table.table(record)
    every = {(variant, dynamic) for variant in VARIANTS for dynamic in (False, True)}
    missing = {variant for variant, _ in every - {row.key for row in record.rows}}
    named = re.search(r"\*\*Not run yet\*\*: (.*), or", text)
    assert set(named[1].split(", ") if named else ()) == missing


def test_the_docs_have_the_command_of_the_record() -> None:
    found = re.findall(r"^python -m tools\..*$", DOCS.read_text(), re.MULTILINE)
    (command,) = found
    assert command.endswith("--json benchmarks/results/variants.json --markdown docs/variants.md")
