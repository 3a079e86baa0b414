"""A served model in every command that takes a model, judged like the file that is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from triton_server import TritonServer

from benchmarks.records.record import read_record
from refinenet.__main__ import main
from runtime.card import read_card
from runtime.files import sha256_of

pytestmark = pytest.mark.serving
WEIGHTS = "lw-mobilenetv2-camvid"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def served(tmp_path: Path, start_triton: Callable[[Path], TritonServer]) -> str:
    """street.fp32.onnx of 120x160 in `build`, and its address."""
    options = "--name street --size 120x160 --precision fp32 --quiet"
    assert run("export", WEIGHTS, "--output", tmp_path / "build", *options.split()) == 0
    written = ("--output", tmp_path / "models", "--name", "street", "--backend", "python")
    assert run("export-triton", tmp_path / "build/street.fp32.onnx", *written) == 0
    return start_triton(tmp_path / "models").address("street")


def test_every_command_takes_it(
    served: str, tmp_path: Path, photo: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "build/street.fp32.onnx"
    _segment(served, model, photo, tmp_path)
    _evaluate(served, model, camvid, tmp_path)
    _verify(served, tmp_path, photo, capsys)
    _benchmark(served, model, photo, tmp_path, capsys)


def _segment(served: str, model: Path, photo: Path, folder: Path) -> None:
    for name, source in (("served", served), ("local", model)):
        output = folder / f"{name}.png"
        assert run("segment", photo, "--model", source, "--output", output, "--quiet") == 0
    with Image.open(folder / "served.png") as found, Image.open(folder / "local.png") as expected:
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
        assert found.getpalette() == expected.getpalette()
    assert (
        run("segment", photo, "--model", served, "--output", folder / "x.png", "--threads", 1) == 2
    )


def _evaluate(served: str, model: Path, camvid: Path, folder: Path) -> None:
    records = []
    for name, source in (("served", served), ("local", model)):
        file = folder / f"{name}.json"
        options = ("--data", camvid, "--limit", 3, "--json", file, "--quiet")
        assert run("evaluate", source, *options) == 0
        records.append(json.loads(file.read_text()))
    found, expected = records
    assert found["sha256"] == expected["sha256"] == sha256_of(model)
    assert found["iou"] == expected["iou"]
    assert found["runs_on"].startswith("Triton ")


def _verify(served: str, folder: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    of = ("--weights", WEIGHTS, "--images", photo, "--quiet")
    file = folder / "verify.json"
    assert run("verify", folder / "build", *of, "--model", served, "--json", file) == 0
    stages = {stage["name"]: stage for stage in json.loads(file.read_text())["stages"]}
    assert set(stages) == {"fp32", "fp32.triton"}
    assert stages["fp32.triton"]["against"] == "fp32"
    assert stages["fp32.triton"]["measures"]["pixel_agreement"] == 1
    assert "fp32.triton" in capsys.readouterr().out
    options = f"--name street --size 96x128 --precision fp32 --quiet --output {folder / 'other'}"
    assert run("export", WEIGHTS, *options.split()) == 0
    capsys.readouterr()
    assert run("verify", folder / "other", *of, "--model", served) == 2
    assert "none of street.fp32.onnx" in capsys.readouterr().err


def _benchmark(
    served: str, model: Path, photo: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "record.json"
    short = "--seconds 0.2 --rounds 2 --limit-seconds 5 --scenario single,offline --quiet"
    options = ("--weights", WEIGHTS, "--images", photo, *short.split(), "--json", file)
    assert run("benchmark", model, served, *options) == 0
    record = read_record(file)
    (result,) = [entry for entry in record.results if entry.name == "Triton, python"]
    assert (result.file, result.device, result.precision) == ("street", "cpu", "fp32")
    assert (result.sha256, result.size_bytes) == (sha256_of(model), model.stat().st_size)
    (accuracy,) = result.accuracies
    assert accuracy.agreement is not None
    assert accuracy.agreement.share > 0.9999
    assert {entry.scenario for entry in result.measurements} == {"single", "offline"}
    assert all(entry.rounds for entry in result.measurements)
    assert "Triton, python" in capsys.readouterr().out
    assert read_card(model).frame_size == (120, 160)
