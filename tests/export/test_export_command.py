"""export, build and verify as they are typed, with their exit codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from graphs import edit
from planted_faults import one_bad_scale

from refinenet.__main__ import main
from runtime.tensorrt_api import gpu_present

WEIGHTS = "lw-mobilenetv2-camvid"
EXPORT = ["export", WEIGHTS, "--output", "{tmp}"]
FP16 = [*EXPORT, "--precision", "fp16"]
Printed = pytest.CaptureFixture[str]
without_a_gpu = pytest.mark.skipif(gpu_present(), reason="this machine can run the engines")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def only_line(text: str) -> str:
    (line,) = text.splitlines()
    return line


def test_export_writes_three_files_and_their_cards(exported: Path) -> None:
    files = {f"street.{precision}.onnx" for precision in ("fp32", "fp16", "int8")}
    cards = {f"{name}.card.json" for name in files}
    assert names(exported) == files | cards | {"street.ranges.json"}


def test_images_of_several_folders_are_named_since_labels_may_be_among_them(
    tmp_path: Path, photo: Path, capsys: Printed
) -> None:
    for place in ("images", "labels"):
        (tmp_path / place).mkdir()
        shutil.copy(photo, tmp_path / place)
    measured = ["--precision", "fp16", "--calibration", str(tmp_path), "--size", "64x96"]
    assert main(["export", WEIGHTS, "--output", str(tmp_path / "out"), *measured, "--quiet"]) == 0
    note = f"measuring on 2 images: 1 in {tmp_path / 'images'}, 1 in {tmp_path / 'labels'}"
    assert capsys.readouterr().err == f"note: {note}\n"


def test_build_writes_engines_beside_and_says_with_what(folder: Path, capsys: Printed) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    files = [str(folder / f"street.{precision}.onnx") for precision in ("fp16", "int8")]
    assert main(["build", *files, "--runtime", "rtx", "--quiet"]) == 0
    assert {"street.fp16.rtx.engine", "street.int8.rtx.engine"} <= names(folder)
    printed = capsys.readouterr()
    first, fp16, fp16_cost, int8, int8_cost, both = printed.out.splitlines()
    assert first.startswith("building with TensorRT-RTX 1.")
    assert "street.fp16.rtx.engine" in fp16
    assert "street.int8.rtx.engine" in int8
    assert all("rtx-4090" in line for line in (fp16_cost, int8_cost, both))
    assert "made for" not in printed.err  # the weights' scales suit the runtime


def test_shapes_that_are_not_given_are_the_usual_ones(dynamic: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    path = Path(shutil.copy(dynamic, tmp_path))
    assert main(["build", str(path), "--runtime", "rtx", "--opt-shape", "1x96x128", "--quiet"]) == 0
    card = tmp_path / f"{path.stem}.rtx.engine.card.json"
    build = json.loads(card.read_text(encoding="utf-8"))["build"]
    assert build["profile"] == [[1, 64, 64], [1, 96, 128], [1, 1080, 1920]]


@without_a_gpu
def test_verify_says_what_passed_and_what_was_not_run(
    built: Path, tmp_path: Path, photo: Path, capsys: Printed
) -> None:
    folder = str(shutil.copytree(built, tmp_path / "street"))
    asked = ["verify", folder, "--weights", WEIGHTS, "--images", str(photo), "--quiet"]
    assert main(asked) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    results = {row[0]: row[-1] for row in rows[1:7]}
    assert results == {
        **dict.fromkeys(("fp32", "fp16", "int8"), "passed"),
        **dict.fromkeys(("fp32.rtx", "fp16.rtx", "int8.rtx"), "RUN"),
    }


def test_verify_exits_with_1_and_names_the_first_stage_that_fails(
    folder: Path, photo: Path, capsys: Printed
) -> None:
    edit(folder / "street.int8.onnx", one_bad_scale)
    asked = ["verify", str(folder), "--weights", WEIGHTS, "--images", str(photo), "--quiet"]
    assert main([*asked, "--json", str(folder / "results.json")]) == 1
    assert only_line(capsys.readouterr().err).endswith(" int8")
    record = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert record["command"].startswith(f"refinenet verify {folder} --weights {WEIGHTS} ")
    assert [(stage["name"], stage["status"]) for stage in record["stages"]] == [
        ("fp32", "passed"),
        ("fp16", "passed"),
        ("int8", "FAILED"),
    ]


def test_int8_without_calibration_is_refused_before_any_work(
    weights: Path, tmp_path: Path, capsys: Printed
) -> None:
    own = Path(shutil.copy(weights, tmp_path / "own.safetensors"))
    assert main(["export", str(own), "--output", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert "own.safetensors; give --calibration IMAGES" in only_line(printed.err)
    assert printed.out == ""
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "no-such-weights", "--output", "{tmp}"], "no-such-weights"),
        (["export", WEIGHTS, "--output", "{tmp}/file"], "/file"),
        (["export", WEIGHTS, "--output", "{tmp}", "--calibration", "{tmp}/none"], "/none"),
        (["export", WEIGHTS, "--output", "{tmp}", "--size", "360"], "HEIGHTxWIDTH"),
        (["export", WEIGHTS, "--output", "{tmp}", "--precision", "fp8"], "'fp8'"),
        ([*FP16, "--save-ranges", "{tmp}/r.json"], "--save-ranges"),
        ([*FP16, "--percentile", "99"], "--percentile"),
        ([*EXPORT, "--percentile", "30", "--calibration", "{tmp}"], "30.0"),
        ([*EXPORT, "--percentile", "99"], "--calibration"),
        ([*EXPORT, "--calibration-method", "kl"], "'kl'"),
        (
            [*EXPORT, "--calibration-method", "mse", "--percentile", "99", "--calibration", "x"],
            "--percentile 99",
        ),
        (
            [*EXPORT, "--precision", "fp32", "--calibration", "{tmp}"],
            "--calibration",
        ),
        ([*EXPORT, "--accuracy-loss", "1"], "--data DIR"),
        ([*EXPORT, "--accuracy-loss", "-1", "--data", "{tmp}"], "0 to 100"),
        ([*EXPORT, "--data", "{tmp}"], "--data"),
        ([*EXPORT, "--dataset", "voc"], "--dataset"),
        ([*EXPORT, "--search-images", "4"], "--search-images"),
        ([*EXPORT, "--accuracy-loss", "1", "--data", "{tmp}/none"], "/none"),
        ([*EXPORT, "--sensitivity", "{tmp}", "--calibration", "x"], "is a folder"),
        ([*EXPORT, "--save-ranges", "{tmp}/file/r.json"], "/file"),
        ([*EXPORT, "--sensitivity", "{tmp}/s.json"], "--sensitivity"),
        (
            [*EXPORT, "--sensitivity", "{tmp}/s.json", "--calibration", "ranges.json"],
            "--sensitivity",
        ),
        ([*EXPORT, "--name", "a/street"], "--name 'a/street'"),
        ([*EXPORT, "--name", "../street"], "--output"),
        ([*EXPORT, "--name", ""], "--name ''"),
        (
            [*EXPORT, "--dynamic", "--batch", "4", "--resize", "letterbox"],
            "--batch, --resize",
        ),
        (
            [*EXPORT, "--dynamic", "--size", "480x32"],
            "33x33",
        ),
        (["build", "{tmp}/none.onnx"], "/none.onnx"),
        (["build", "{tmp}/file", "--min-shape", "64x64"], "NxHEIGHTxWIDTH"),
        (
            ["build", "{tmp}/file", "--refit", "{tmp}/e", "--tf32", "--target", "sm_86"],
            "--target, --tf32",
        ),
        (["build"], "the following arguments are required: onnx"),
        (["verify", "{tmp}", "--weights", WEIGHTS, "--images", "{tmp}"], ".fp32.onnx"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert main([argument.replace("{tmp}", str(tmp_path)) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert message in only_line(printed.err)
    assert printed.out == ""
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize(
    "asked",
    [
        ["export", WEIGHTS, "--output", "{out}", "--size", "64x64", "--accuracy-loss", "1"],
        ["verify", "{street}", "--weights", WEIGHTS],
    ],
)
def test_labels_of_other_classes_are_refused(
    asked: list[str], folder: Path, tmp_path: Path, capsys: Printed
) -> None:
    data = tmp_path / "voc"
    (data / "ImageSets/Segmentation").mkdir(parents=True)
    for split in ("train", "val"):
        (data / f"ImageSets/Segmentation/{split}.txt").write_text("2007_000129\n")
    places = {"{out}": str(tmp_path / "out"), "{street}": str(folder)}
    asked = [places.get(word, word) for word in asked]
    assert main([*asked, "--data", str(data), "--dataset", "voc", "--quiet"]) == 2
    assert re.search(r" 11 .*voc .* 21\b", only_line(capsys.readouterr().err))
    assert not list(tmp_path.glob("out/*.int8.onnx"))


@pytest.mark.parametrize("command", ["export", "build", "verify"])
def test_help_shows_an_example(command: str, capsys: Printed) -> None:
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert f"refinenet {command} " in capsys.readouterr().out.split("example:")[1]
