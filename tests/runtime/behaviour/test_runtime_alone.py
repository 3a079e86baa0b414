"""`python -m runtime` works where nothing but the runtime's own packages is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import CARD, brightest_channel

from runtime.__main__ import main
from runtime.app.video_source import VideoSource
from runtime.card import write_sidecar
from runtime.frames import read_frame

ABSENT = ("torch", "torchvision", "onnx", "safetensors", "PIL", "yaml")
OWN = ("refinenet", "export", "benchmarks")  # an embedded machine needs the folder runtime/ alone

# A finder ahead of all others: whoever asks for one of these packages finds it not installed.
BLOCKED = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["runtime", *sys.argv[1:]]
{statement}
"""
RUN = 'runpy.run_module("runtime", run_name="__main__")'


def run_alone(
    *arguments: object, absent: tuple[str, ...] = (*ABSENT, *OWN), statement: str = RUN
) -> subprocess.CompletedProcess[str]:
    program = BLOCKED.format(absent=set(absent), statement=statement)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_video_is_segmented_with_the_runtime_alone(
    model: Path, samples: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    drive = samples / "camvid_val_0016E5_15fps.mp4"
    done = run_alone(drive, "--model", model, "--output", output, "--frames", 5, "--overlay")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{output}: 5 frames")
    with VideoSource(str(output)) as source:
        assert len(list(source)) == 5


def test_a_photo_is_segmented_with_the_runtime_alone(
    model: Path, samples: Path, tmp_path: Path
) -> None:
    photo, output = samples / "street_kitti_000099.jpg", tmp_path / "mask.png"
    done = run_alone(photo, "--model", model, "--output", output)
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(output) as picture:
        np.testing.assert_array_equal(np.asarray(picture), brightest_channel(read_frame(photo)))


def test_an_engine_needs_no_onnx_runtime(samples: Path, tmp_path: Path) -> None:
    engine = tmp_path / "street.fp16.rtx.engine"
    engine.write_bytes(b"an engine of another time")
    write_sidecar(engine, CARD, {"package": "rtx", "version": "0.9.0", "compute_capabilities": []})
    done = run_alone(
        samples / "street_kitti_000099.jpg", "--model", engine, "--output", tmp_path / "mask.png",
        absent=(*ABSENT, *OWN, "onnxruntime"),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("python -m runtime: ")
    assert "onnxruntime" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_onnx_runtime_is_one_line(model: Path, samples: Path, tmp_path: Path) -> None:
    photo = samples / "street_kitti_000099.jpg"
    arguments = (photo, "--model", model, "--output", tmp_path / "mask.png")
    done = run_alone(*arguments, absent=("onnxruntime",))
    assert done.returncode == 2
    assert "MissingPackage: running an ONNX file needs the package onnxruntime" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("package", ["onnx", "refinenet"])
def test_the_check_sees_a_forbidden_import(package: str) -> None:
    done = run_alone(statement=f"import {package}")
    assert done.returncode == 1
    assert f"No module named '{package}'" in done.stderr


def test_the_help_names_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: python -m runtime")
    assert "example:\n  python -m runtime drive.mp4" in shown
    assert "refinenet" not in shown
