"""The table of a record, and its place in a document."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.records.measurements import Accuracy, Agreement, Measurement, Roofline, Round
from benchmarks.records.record import Record
from benchmarks.report import BEGIN, END, insert_table, tables
from runtime.errors import InputError

GOLDEN = """\
| backend | precision | median ms | p90 ms | p99 ms | frames/s | pixel agreement | size MB | mIoU |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| PyTorch eager | fp32 | 25.00 | ≈ 37.00 | ≈ 39.70 | 40.00 | reference | 6.9 | 65.43 |
| ONNX Runtime CPU | int8 | 5.00 | 5.00 | ≈ 5.00 | 200.00 | 99.999 % | 3.4 | - |

- CUT SHORT: PyTorch eager fp32, single stream, batch 1, 360x480: \
1 of 2 rounds reached the time cap, 4 queries in all
- NOT RUN: TensorRT-RTX fp16: this machine has no GPU | see refinenet doctor
- ONNX Runtime CPU computes FP16 files in FP32 and INT8 files in integer kernels of its own: \
those rows say nothing of the same files on a GPU

Scenario `single` (MLPerf-style), batch 1, 2 real images at 360x480; \
latency from a uint8 frame to a uint8 mask, both in host memory, 2 threads; \
at least 2 interleaved rounds, until medians are stable within 2% \
or 60 s are over, of at least 3 s and 10 frames, at most 30 s, after warm-up; \
pixel agreement with PyTorch eager in FP32; mIoU on camvid val, 101 images. \
≈ marks low confidence: fewer than 100 samples lie beyond it.

A CPU, 2 cores, load average 0.25 before; A GPU, driver 580.65; \
Linux-6.1, Python 3.11.9, torch 2.13.0, numpy 2.4.6; \
commit 0123456789ab with changes; 2026-11-23T02:10:00+00:00.

    refinenet benchmark build --images photos"""


def test_the_table_of_a_small_record(record: Record) -> None:
    assert tables([record]) == GOLDEN


def test_an_accuracy_that_fails_its_gate_is_red(record: Record) -> None:
    wrong = replace(record.results[1], accuracies=(Accuracy(360, 480, Agreement(97, 100), 0.5),))
    text = tables([replace(record, results=(record.results[0], wrong))])
    assert "🔴 97.000 %" in text
    assert "🔴 50.00" in text
    assert re.search(
        r"🔴 FAILED: ONNX Runtime CPU int8: 97\.000 %.* 98\.00 %.* 15\.432 .* 1\b", text
    )


def test_an_accuracy_at_its_gate_is_not_red(record: Record) -> None:
    right = replace(record.results[1], accuracies=(Accuracy(360, 480, Agreement(98, 100), 0.65),))
    assert "🔴" not in tables([replace(record, results=(record.results[0], right))])


def test_what_did_not_run_for_the_same_reason_is_named_once(record: Record) -> None:
    engine = record.results[2]
    others = [replace(engine, precision=p, file=f"tiny.{p}.engine") for p in ("fp32", "int8")]
    text = tables([replace(record, results=(engine, *others))])
    assert "- NOT RUN: TensorRT-RTX fp16, fp32, int8: this machine has no GPU" in text
    assert text.count("this machine has no GPU") == 1


def test_each_scenario_has_a_table_of_its_own(record: Record) -> None:
    onnx = record.results[1]
    measured = onnx.measurements[0]
    batches = replace(measured, scenario="offline", batch=4, frames_per_query=4)
    text = tables([replace(record, results=(replace(onnx, measurements=(batches, measured)),))])
    single, offline = text.split("**offline, batch 4, 4 frames in a query, 360x480**")
    assert "**single stream, batch 1, 360x480**" in single
    assert "| 200.00 |" in single
    assert "| 800.00 |" in offline


def test_a_record_is_no_markup_and_cannot_break_its_document(
    tmp_path: Path, record: Record
) -> None:
    named = replace(record.results[0], name="<script>alert(1)</script>\n| a |")
    text = tables([replace(record, results=(named,))])
    assert "| &lt;script>alert(1)&lt;/script> \\| a \\| | fp32 |" in text
    path = tmp_path / "README.md"
    path.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    with pytest.raises(InputError, match="would break"):
        insert_table(path, tables([replace(record, command=END)]))


def test_of_a_server_only_rounds_count_that_ended_by_themselves(record: Record) -> None:
    held = Round((20.0,) * 10, 1000.0, "enough", arrivals_per_second=10.0)
    given_up = replace(held, stopped_by="cap", arrivals_per_second=40.0)
    server = Measurement("server", 1, 1, 360, 480, (held, given_up), "rounds")
    result = replace(record.results[1], measurements=(server,))
    asked = replace(record.conditions, latency_bound_ms=50.0)
    text = tables([replace(record, conditions=asked, results=(result,))])
    assert "| 10.00 |" in text
    assert "server under a p99 of 50 ms, at least 1000 arrivals" in text
    unheld = replace(result, measurements=(replace(server, rounds=(given_up,)),))
    text = tables([replace(record, conditions=asked, results=(unheld,))])
    assert (
        "360x480: no rate that was tried held a p99 of 50 ms, the lowest of them 40.0 frames"
        in text
    )


def test_one_of_anything_is_not_several(record: Record) -> None:
    asked = replace(record.conditions, threads=1, images=("a.jpg",))
    text = tables([replace(record, conditions=asked)])
    assert "1 real image at" in text
    assert "host memory, 1 thread;" in text


def test_what_held_the_gpu_back_is_said(record: Record) -> None:
    torch = record.results[0]
    hot = replace(torch.measurements[0].rounds[0], throttle_reasons=("hw_thermal_slowdown",))
    results = (replace(torch, measurements=(replace(torch.measurements[0], rounds=(hot,)),)),)
    text = tables([replace(record, results=results)])
    assert "- HELD BACK: the GPU during rounds: hw_thermal_slowdown" in text


def test_the_share_of_the_limit_stands_at_the_measurement_that_it_is_of(record: Record) -> None:
    single = record.results[1].measurements[0]
    offline = replace(single, scenario="offline", batch=8, frames_per_query=8)
    limit = Roofline(10**8, 10**6, 2.5, 0.5)
    result = replace(record.results[1], measurements=(single, offline), roofline=limit)
    lines = tables([replace(record, results=(result,))]).splitlines()
    assert [line.split(" | ")[-1] for line in lines if "| ONNX Runtime" in line] == [
        "50.0% |",
        "- |",
    ]


def test_several_records_are_several_tables(record: Record) -> None:
    assert tables([record, record]) == f"{GOLDEN}\n\n{GOLDEN}"


def test_one_different_pixel_is_never_a_hundred_percent(record: Record) -> None:
    one_pixel_off = Accuracy(360, 480, Agreement(10**9 - 1, 10**9), None)
    result = replace(record.results[1], accuracies=(one_pixel_off,))
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
