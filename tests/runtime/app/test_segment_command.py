"""refinenet segment, inspect and doctor, as they are typed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_models import CARD, brightest_channel, write_model

from refinenet.__main__ import main
from runtime.app.video_source import VideoSource
from runtime.card import write_sidecar
from runtime.frames import read_frame
from runtime.segmenter import Segmenter
from tools.cameras.mjpeg_server import MjpegServer


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture
def photo(samples: Path) -> Path:
    return samples / "street_kitti_000099.jpg"


@pytest.fixture
def drive(samples: Path) -> Path:
    return samples / "camvid_val_0016E5_15fps.mp4"


def test_an_image_gives_an_indexed_mask(
    model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mask.png"
    assert run("segment", photo, "--model", model, "--output", output) == 0
    with Image.open(output) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), brightest_channel(read_frame(photo)))
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{output}: 1 frame, ")
    assert "CPU)" in captured.out
    assert captured.err == ""


def test_notes_are_shown_once(
    model: Path,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Segmenter, "notes", ("runs without a CUDA graph: it fails",) * 2)
    assert run("segment", photo, "--model", model, "--output", tmp_path / "mask.png") == 0
    said = "refinenet segment: runs without a CUDA graph: it fails\n"
    assert capsys.readouterr().err == said


def test_an_image_goes_into_a_folder_under_its_name(
    model: Path, photo: Path, tmp_path: Path
) -> None:
    assert run("segment", photo, "--model", model, "--output", tmp_path / "masks") == 0
    assert (tmp_path / "masks" / f"{photo.stem}.png").exists()


def test_a_folder_keeps_its_shape(model: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.jpg"):
        (folder / name).write_bytes(photo.read_bytes())
    assert run("segment", folder, "--model", model, "--output", tmp_path / "masks") == 0
    masks = tmp_path / "masks"
    found = {str(path.relative_to(masks)) for path in masks.rglob("*.*")}
    assert found == {"a.png", "deep/b.png"}


def test_an_overlay_is_a_colour_picture(model: Path, photo: Path, tmp_path: Path) -> None:
    output = tmp_path / "overlay.png"
    options = ("--overlay", "--legend")
    assert run("segment", photo, "--model", model, "--output", output, *options) == 0
    with Image.open(output) as picture:
        assert picture.mode == "RGB"


@pytest.mark.parametrize("options", [(), ("--overlay", "--legend")])
def test_a_video_gives_a_video(
    model: Path, drive: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    output = tmp_path / "out.mp4"
    arguments = ("--model", model, "--output", output, "--frames", 20, *options)
    assert run("segment", drive, *arguments) == 0
    with VideoSource(str(output)) as source:
        assert (source.fps, len(list(source))) == (15.0, 20)


def test_a_video_gives_a_folder_of_masks(model: Path, drive: Path, tmp_path: Path) -> None:
    assert run("segment", drive, "--model", model, "--output", tmp_path / "m", "--frames", 3) == 0
    masks = sorted((tmp_path / "m").iterdir())
    assert [path.name for path in masks] == ["000000.png", "000001.png", "000002.png"]
    with VideoSource(str(drive)) as source, Image.open(masks[0]) as picture:
        assert picture.mode == "P"
        expected = brightest_channel(next(iter(source)).frame)
        np.testing.assert_array_equal(np.asarray(picture), expected)


def test_side_by_side_is_twice_as_wide(
    model: Path, drive: Path, photo: Path, tmp_path: Path
) -> None:
    video, picture = tmp_path / "out.mp4", tmp_path / "out.png"
    options = ("--side-by-side", "--legend")
    common = ("--model", model, *options)
    assert run("segment", drive, "--output", video, "--frames", 3, *common) == 0
    assert run("segment", photo, "--output", picture, *common) == 0
    with VideoSource(str(video)) as source, VideoSource(str(drive)) as original:
        shown, frame = next(iter(source)).frame, next(iter(original)).frame
        assert shown.shape == (360, 960, 3)
        assert np.abs(shown[:, :480].astype(int) - frame).mean() < 8  # as coded
    np.testing.assert_array_equal(read_frame(picture)[:, :1226], read_frame(photo))


def test_a_camera_that_is_lost_leaves_its_video_and_is_exit_2(
    model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mkv"
    with MjpegServer([read_frame(photo)] * 5) as camera:
        options = ("--model", model, "--output", output, "--reconnect", 0)
        assert run("segment", camera.address, *options) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{output}: ")
    assert "SourceLost: http://127.0.0.1" in captured.err
    assert captured.err.count("\n") == 1
    with VideoSource(str(output)) as source:
        assert 1 <= len(list(source)) <= 30


def test_ctrl_c_leaves_a_playable_video(model: Path, samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.avi"
    source = samples / "car-detection.mp4"
    command = [sys.executable, "-m", "refinenet", "segment", str(source), "--threads", "1"]
    process = subprocess.Popen(
        [*command, "--model", str(model), "--output", str(output), "--overlay", "--legend"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background job ignores SIGINT, and so would a child of it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # The header alone takes a few kilobytes; this much holds frames.
    while not any(part.stat().st_size > 200_000 for part in tmp_path.glob(".*.part.avi")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "refinenet segment: interrupted"
    with VideoSource(str(output)) as video:
        assert 1 <= len(list(video)) < 377
    assert list(tmp_path.glob(".*")) == []


def test_a_video_cut_short_is_said(
    model: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((samples / "car-detection.mp4").read_bytes()[:200_000])
    assert run("segment", cut, "--model", model, "--output", tmp_path / "out.mp4") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{tmp_path / 'out.mp4'}: 22 frames")
    assert "promises 377 frames" in captured.err


def test_the_wrong_input_is_one_line_and_exit_2(
    model: Path, photo: Path, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, clip, own = tmp_path / "text.jpg", tmp_path / "text.mp4", tmp_path / "own.png"
    text.write_text("just some text")
    clip.write_text("just some text")
    own.write_bytes(photo.read_bytes())
    out = tmp_path / "out.png"
    for arguments, message in (
        ((tmp_path / "none.jpg", "--model", model, "--output", out), "does not exist"),
        ((text, "--model", model, "--output", out), "not an image"),
        ((own, "--model", model, "--output", own), "would overwrite an input"),
        ((photo, "--model", model, "--output", tmp_path / "out.gif"), "written as .png"),
        ((photo, "--model", tmp_path / "no.onnx", "--output", out), "does not exist"),
        ((photo, "--model", model, "--output", out, "--legend"), "--legend needs --overlay"),
        ((drive, "--model", model, "--output", out), "expected one of .mp4"),
        ((drive, "--model", model, "--output", drive), "is the input itself"),
        ((clip, "--model", model, "--output", tmp_path / "out.mp4"), "not a video"),
        ((drive, "--model", model, "--output", tmp_path / "m", "--legend"), "--legend needs"),
        ((drive, "--model", model, "--output", out.with_suffix(".mp4"), "--reconnect", 5), "live"),
        ((photo, "--model", model, "--output", out, "--reconnect", 5), "--reconnect is for"),
        ((drive, "--model", model, "--output", tmp_path / "m", "--reconnect", "-1"), "0 or more"),
        ((photo, "--output", out), "--model"),
    ):
        assert run("segment", *arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not out.exists()


def test_two_images_for_one_mask_are_refused(
    model: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "a.jpeg"):
        (folder / name).write_bytes(photo.read_bytes())
    assert run("segment", folder, "--model", model, "--output", tmp_path / "masks") == 2
    assert "would both be written to" in capsys.readouterr().err


def test_inspect_shows_the_card(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", model) == 0
    shown = capsys.readouterr().out
    for words in ("toy, fp32", "blue, green, red", "not compared", "can run it: ONNX Runtime"):
        assert words in shown


def test_inspect_shows_what_the_weights_reached_and_no_terminal_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    details = {
        "dataset": "camvid",
        "recipe": {"epochs": 12},
        "result": {"epoch": 10, "val_miou": 0.6835},
        "note": "two\nlines\x1b[2J",
    }
    path = write_model(tmp_path / "told.onnx", card=replace(CARD, details=details))
    assert run("inspect", path) == 0
    shown = capsys.readouterr().out
    for words in ("on camvid, 12 epochs", "68.35% mIoU on val after epoch 10", "two lines [2J"):
        assert words in shown
    assert "\x1b" not in shown
    untold = replace(CARD, details={"recipe": 12, "result": {"val_miou": "much"}, "note": []})
    assert run("inspect", write_model(tmp_path / "untold.onnx", card=untold)) == 0


def test_inspect_compares_the_hash(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from runtime.card import read_card

    write_sidecar(model, read_card(model))
    assert run("inspect", model) == 0
    assert "matches toy.fp32.onnx.card.json" in capsys.readouterr().out
    model.write_bytes(model.read_bytes().replace(b"ArgMax", b"ArgMin"))
    assert run("inspect", model) == 2
    assert "EngineMismatch" in capsys.readouterr().err


def test_inspect_of_a_foreign_file_asks_for_a_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_model(tmp_path / "foreign.onnx", card=None)
    assert run("inspect", path) == 0
    assert "none: not one of our files" in capsys.readouterr().out


def test_inspect_of_an_engine_says_why_it_cannot_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "street.fp16.rtx.engine"
    engine.write_bytes(b"an engine of another time")
    build = {"package": "rtx", "version": "0.9.0", "compute_capabilities": []}
    write_sidecar(engine, CARD, build)
    assert run("inspect", engine) == 0
    shown = capsys.readouterr().out
    assert "built          with rtx 0.9.0, for every GPU it supports" in shown
    assert "this machine   cannot run it: " in shown


@pytest.mark.parametrize(
    ("name", "content"),
    [("text.onnx", b"just some text\n"), ("weights.safetensors", b"short"), ("a.txt", b"hello")],
)
def test_inspect_of_a_broken_file_is_exit_2(
    tmp_path: Path, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert run("inspect", tmp_path / name) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_doctor_names_everything_a_stage_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor") == 0
    shown = capsys.readouterr().out
    for name in ("Python", "ONNX Runtime", "TensorRT-RTX", "CUDA bindings", "GPU", "torch", "onnx"):
        assert name in shown


@pytest.mark.parametrize("command", ["segment", "inspect", "doctor"])
def test_help_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(command, "--help")
    assert stop.value.code == 0
    assert f"example:\n  refinenet {command}" in capsys.readouterr().out
