"""The table of a record, and its place in a document."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.record import Agreement, Measurement, Record, Round
from benchmarks.report import BEGIN, END, insert_table, tables
from runtime.errors import InputError

GOLDEN = """\
| backend | precision | median ms | p90 ms | p99 ms | frames/s | pixel agreement | size MB | mIoU |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| PyTorch eager | fp32 | 25.00 | ≈ 37.00 | ≈ 39.70 | 40.00 | reference | 6.9 | 65.43 |
| ONNX Runtime CPU | int8 | 5.00 | 5.00 | ≈ 5.00 | 200.00 | 99.999 % | 3.4 | - |
| TensorRT-RTX | fp16 | NOT RUN | - | - | - | - | 7.1 | - |

- CUT SHORT: PyTorch eager fp32: 1 of 2 rounds reached the time cap, 4 frames in all
- NOT RUN: TensorRT-RTX fp16: this machine has no GPU | see refinenet doctor
- ONNX Runtime CPU computes FP16 files in FP32 and INT8 files in integer kernels of its own: \
those rows say nothing of the same files on a GPU

Scenario `single` (MLPerf-style), batch 1, 2 real images at 360x480; \
latency from a uint8 frame to a uint8 mask, both in host memory, 2 threads; \
2 interleaved rounds of at least 3 s and 10 frames, at most 30 s, after warm-up; \
pixel agreement with PyTorch eager in FP32; mIoU on camvid val, 101 images. \
≈ marks low confidence: fewer than 100 samples lie beyond it.

A CPU, 2 cores, load average 0.25 before; A GPU, driver 580.65; \
Linux-6.1, Python 3.11.9, torch 2.13.0, numpy 2.4.6; \
commit 0123456789ab with changes; 2026-11-23T02:10:00+00:00.

    refinenet benchmark build --images photos"""


def test_the_table_of_a_small_record(record: Record) -> None:
    assert tables([record]) == GOLDEN


def test_several_records_are_several_tables(record: Record) -> None:
    assert tables([record, record]) == f"{GOLDEN}\n\n{GOLDEN}"


def test_one_different_pixel_is_never_a_hundred_percent(record: Record) -> None:
    one_pixel_off = Measurement(
        1.0, 1.0, (Round((1.0,), 1.0, "cap"),), Agreement(10**9 - 1, 10**9), None
    )
    result = replace(record.results[1], measurement=one_pixel_off)
    assert "99.999 %" in tables([replace(record, results=(result,))])


def test_the_iou_column_is_there_only_with_labels(record: Record) -> None:
    assert "mIoU |" not in tables([replace(record, results=record.results[1:])])


def test_two_files_of_one_backend_and_precision_are_told_apart(record: Record) -> None:
    other = replace(record.results[1], file="other.int8.onnx")
    text = tables([replace(record, results=(record.results[1], other))])
    assert "| ONNX Runtime CPU (tiny.int8.onnx) | int8 |" in text
    assert "| ONNX Runtime CPU (other.int8.onnx) | int8 |" in text


def test_the_table_takes_its_place_in_a_document_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nan old table\n{END}\nafter\n", encoding="utf-8")
    insert_table(path, "a new table")
    insert_table(path, "a newer table")
    assert path.read_text(encoding="utf-8") == f"before\n{BEGIN}\na newer table\n{END}\nafter\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    ["no markers", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}\n{END}\n{BEGIN}\n{END}"],
)
def test_a_document_without_the_markers_is_refused_and_unchanged(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="benchmark:begin"):
        insert_table(path, "a table")
    assert path.read_text(encoding="utf-8") == text
