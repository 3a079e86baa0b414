"""`refinenet benchmark` and `refinenet report` from command line to record and table."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from benchmarks.benchmark_command import benchmark, endings
from benchmarks.records.record import Record, read_record
from benchmarks.report import BEGIN, END
from benchmarks.report_command import report
from benchmarks.roofline import measure_roofline
from benchmarks.scenarios.rounds import WORKLOAD_TIMES
from refinenet import create_model
from refinenet.__main__ import main
from refinenet.checkpoints.load import save_checkpoint
from runtime.card import read_card
from runtime.errors import DeviceError, InputError

QUICK = (
    *("--seconds", "0.01", "--rounds", "2", "--limit-seconds", "0.01"),
    *("--threads", "1", "--quiet"),
)


@pytest.fixture
def weights(tmp_path: Path, model: Path) -> Path:
    """An untrained network with the tiny model's classes, whose masks are others."""
    path = tmp_path / "tiny.safetensors"
    card = replace(read_card(model), channel_order="RGB", input_shape=None, output_kind=None)
    save_checkpoint(path, create_model("lw-mobilenetv2", 3), card)
    return path


def test_a_model_is_measured_recorded_and_shown(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "record.json"
    assert benchmark([str(model), "--images", str(photos), "--json", str(file), *QUICK]) == 0
    record = read_record(file)
    (result,) = record.results
    assert (result.name, result.precision) == ("ONNX Runtime CPU", "fp32")
    (measurement,) = result.measurements
    assert measurement.scenario == "single"
    assert measurement.stopped_by in ("stable", "time")
    assert len(measurement.rounds) == 2
    assert all(len(entry.latencies_ms) >= 3 for entry in measurement.rounds)
    assert all(len(entry.workload_ms) == 2 * WORKLOAD_TIMES for entry in measurement.rounds)
    assert result.memory is not None
    assert result.budget is not None
    assert len(result.budget.decode_ms) == 3
    assert record.conditions.images == ("a.png", "b.png", "c.png")
    assert f"benchmark {model} --images" in record.command
    assert "| ONNX Runtime CPU | fp32 |" in capsys.readouterr().out


def test_a_roofline_that_fails_loses_nothing_that_was_measured(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise InputError("the work of an operator is not known")

    monkeypatch.setattr(measure_roofline, "with_roofline", failing)
    file = tmp_path / "record.json"
    with pytest.raises(InputError, match="operator"):
        benchmark([str(model), "--images", str(photos), "--json", str(file), "--roofline", *QUICK])
    assert read_record(file).results[0].measurements


def test_masks_that_differ_from_pytorchs_agree_on_less_than_all_pixels(
    model: Path, weights: Path, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "record.json"
    arguments = (str(model), "--weights", str(weights), "--images", str(photos))
    assert benchmark([*arguments, "--json", str(file), *QUICK]) == 0
    torch, channels_last, onnx = (result.accuracies[0] for result in read_record(file).results)
    assert torch.agreement is None  # it is the reference
    assert channels_last.agreement is not None
    assert channels_last.agreement.share > 0.99
    assert onnx.agreement is not None
    assert onnx.agreement.share < 0.9
    assert onnx.agreement.pixels == 3 * 24 * 32


def test_why_rounds_ended_is_said_of_each_of_two_files(record: Record) -> None:
    two = [replace(record.results[1], file=name) for name in ("a.onnx", "b.onnx")]
    first, second = endings(replace(record, results=tuple(two)))
    assert first.startswith("ONNX Runtime CPU (a.onnx) int8, single")
    assert second.startswith("ONNX Runtime CPU (b.onnx) int8, single")


def test_an_engine_that_cannot_run_here_keeps_its_row_and_its_reason(
    model: Path, engine: Path, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "record.json"
    arguments = (str(model), str(engine), "--images", str(photos))
    assert benchmark([*arguments, "--json", str(file), *QUICK]) == 0
    ran, not_run, graph, streamed = read_record(file).results
    assert ran.measurements
    assert (not_run.name, not_run.precision) == ("TensorRT-RTX", "fp16")
    assert not_run.measurements == ()
    assert not_run.not_run == graph.not_run == streamed.not_run
    assert not_run.not_run


def test_where_nothing_can_run_the_record_is_written_and_the_command_fails(
    engine: Path, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "record.json"
    with pytest.raises(DeviceError, match=r" 3 .*refinenet doctor"):
        benchmark([str(engine), "--images", str(photos), "--json", str(file), *QUICK])
    assert read_record(file).results[0].not_run


def test_after_its_time_nothing_is_opened_and_it_says_so(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "record.json"
    arguments = [str(model), "--images", str(photos), "--json", str(file), *QUICK]
    with pytest.raises(DeviceError, match=r" 1 .*refinenet doctor"):
        benchmark([*arguments, "--total-seconds", "1e-9"])
    record = read_record(file)
    assert record.conditions.total_seconds == 1e-9
    assert record.results[0].not_run == (
        "half of the 1e-09 s of --total-seconds were over before it was opened"
    )


def test_a_file_that_onnx_runtime_refuses_leaves_no_record(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    contents = onnx.load(model)
    contents.opset_import[0].version = 2199
    onnx.save(contents, hostile := tmp_path / "hostile.onnx")
    file = tmp_path / "record.json"
    arguments = [str(model), str(hostile), "--images", str(photos), "--json", str(file)]
    with pytest.raises(InputError, match=r"hostile\.onnx"):
        benchmark([*arguments, *QUICK])
    assert not file.exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ((), "--images"),
        (("--images", "missing.jpg"), r"missing\.jpg"),
        (("--images", "{photos}", "--against", "torch"), "--weights"),
        (("--images", "{photos}", "--against", "all"), "--against all .*weights"),
        (("--images", "{photos}", "--streams", "4"), "--streams .* multi"),
        (("--images", "{photos}", "--latency-bound", "9"), "--latency-bound .* server"),
        (("--images", "{photos}", "--split", "test"), "--split .* --data"),
        (("--images", "{photos}", "--dataset", "voc"), "--dataset .* --data"),
        (("--images", "{photos}", "--batch", "1,2"), "--batch 2 .* offline .*multi"),
        (("--images", "{photos}", "--seconds", "0"), "--seconds"),
        (("--images", "{photos}", "--scenario", "servers"), "single"),
        (("--images", "{photos}", "--scenario", "server"), "--latency-bound"),
        (("--images", "{photos}", "--batch", "2"), " 1 .* 2.*--batch 1"),
        (("--images", "{photos}", "--against", "tensorflow"), "tensorflow.*torch"),
        (("--images", "{photos}", "--weights", "no-such-weights"), "no-such-weights"),
        (("--images", "{photos}", "--json", "{photos}"), "is a folder"),
        (("--images", "{photos}", "--size", "48x64"), r"24x32.*48x64"),
        (("--data", "{photos}"), "/photos/"),
    ],
)
def test_wrong_input_is_one_clear_error(
    model: Path, photos: Path, extra: tuple[str, ...], message: str
) -> None:
    filled = [word.format(photos=photos) for word in extra]
    with pytest.raises(InputError, match=message):
        benchmark([str(model), *filled, *QUICK])


def test_a_truncated_model_is_one_clear_error(model: Path, photos: Path) -> None:
    model.write_bytes(model.read_bytes()[:-40])
    with pytest.raises(InputError):
        benchmark([str(model), "--images", str(photos), *QUICK])


def test_a_record_becomes_a_table_in_a_document(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, readme = tmp_path / "record.json", tmp_path / "README.md"
    benchmark([str(model), "--images", str(photos), "--json", str(file), *QUICK])
    printed = capsys.readouterr().out.strip()
    readme.write_text(f"{BEGIN}\n{END}\n", encoding="utf-8")
    assert report([str(file), "--markdown", str(readme)]) == 0
    assert readme.read_text(encoding="utf-8") == f"{BEGIN}\n{printed}\n{END}\n"
    capsys.readouterr()
    assert report([str(file)]) == 0
    assert capsys.readouterr().out.strip() == printed


def test_a_malformed_record_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    path.write_text("{}", encoding="utf-8")
    assert main(["report", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_and_report_import_no_torch() -> None:
    program = (
        "import sys; from benchmarks.benchmark_command import _benchmark_parser\n"
        "from benchmarks.report_command import report\n"
        "import benchmarks.report, benchmarks.records.record\n"
        "_benchmark_parser().format_help()\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'onnxruntime', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
