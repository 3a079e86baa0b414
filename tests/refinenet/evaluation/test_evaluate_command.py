"""refinenet evaluate: one command for weights and what was exported from them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.to_onnx import OnnxOptions, to_onnx
from refinenet.__main__ import main
from refinenet.data.datasets import CAMVID, open_dataset, read_label
from refinenet.evaluation.metrics import BoundaryIoU, ConfusionMatrix

WEIGHTS = "lw-mobilenetv2-camvid"
FIGURES = (
    *("miou", "boundary_miou", "frequency_weighted_iou"),
    *("mean_class_accuracy", "pixel_accuracy"),
)

Evaluate = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def evaluate(tiny_camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    """The command on two validation images, and the record that it writes."""

    def run(model: str | Path, *options: str) -> dict[str, Any]:
        record = tmp_path_factory.mktemp("records") / "record.json"
        given = ["--data", str(tiny_camvid), "--json", str(record), "--quiet", *options]
        assert main(["evaluate", str(model), *given]) == 0
        content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return content

    return run


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("masks")


@pytest.fixture(scope="module")
def of_weights(evaluate: Evaluate, masks: Path) -> dict[str, Any]:
    return evaluate(WEIGHTS, "--save-masks", str(masks))


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return to_onnx(WEIGHTS, tmp_path_factory.mktemp("onnx") / "street.onnx", OnnxOptions())


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line of a refusal."""
    assert main(["evaluate", *map(str, arguments)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_weights_and_their_onnx_file_are_equally_good(
    evaluate: Evaluate, of_weights: dict[str, Any], onnx_file: Path
) -> None:
    found = evaluate(onnx_file, "--provider", "cpu")
    assert of_weights["miou"] > 0.4, "the weights know nothing, so this test shows nothing"
    for figure in FIGURES:
        assert found[figure] == pytest.approx(of_weights[figure], abs=2e-4)
    assert found["runs_on"].startswith("ONNX Runtime")


def test_the_record_tells_how_to_repeat_it(of_weights: dict[str, Any]) -> None:
    assert of_weights["options"]["model"] == WEIGHTS
    assert of_weights["options"]["passes"]["scales"] == [1.0]
    assert (of_weights["images"], of_weights["variant"]) == (2, "lw-mobilenetv2")
    assert of_weights["runs_on"].startswith("PyTorch")
    assert len(of_weights["sha256"]) == 64
    assert of_weights["boundary_share_of_diagonal"] == 0.005
    for by_class in ("iou", "boundary_iou", "class_accuracy"):
        assert tuple(of_weights[by_class]) == CAMVID.classes


def test_the_saved_masks_give_the_same_figures(
    of_weights: dict[str, Any], masks: Path, tiny_camvid: Path
) -> None:
    images = open_dataset("camvid", tiny_camvid, "val")
    counts, edges = ConfusionMatrix(len(CAMVID.classes)), BoundaryIoU(len(CAMVID.classes))
    for index, (image, _) in enumerate(images.pairs):
        mask = read_label(masks / f"{image.stem}.png")
        counts.add(images.read(index)[1], mask)
        edges.add(images.read(index)[1], mask)
    assert len(list(masks.iterdir())) == len(images)
    assert counts.mean_iou == of_weights["miou"]
    assert edges.mean_iou == of_weights["boundary_miou"]


def test_scales_flip_bounds_and_tiles_reach_the_network(
    evaluate: Evaluate, of_weights: dict[str, Any]
) -> None:
    options = "--limit 1 --scales 0.5,1 --flip --shorter-edge 160,200 --tile 128x128 --overlap 32"
    found = evaluate(WEIGHTS, *options.split())
    assert found["options"]["passes"] == {
        "scales": [0.5, 1.0],
        "flip": True,
        "shorter_edge": [160, 200],
        "tiles": {"size": [128, 128], "overlap": 32},
    }
    assert found["images"] == 1
    assert 0.1 < found["miou"] != of_weights["miou"]


def test_the_table_names_every_class_and_figure(
    tiny_camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--data", str(tiny_camvid), "--limit", "1", "--shorter-edge", "90,90"]
    assert main(["evaluate", WEIGHTS, *given]) == 0
    rows = capsys.readouterr().out.splitlines()
    names = [row.rsplit(maxsplit=3)[0].strip() for row in rows[1:12]]
    assert tuple(names) == CAMVID.classes
    assert [row[:24].strip() for row in rows[12:]] == [
        "mIoU",
        "boundary mIoU",
        "frequency-weighted IoU",
        "mean class accuracy",
        "pixel accuracy",
    ]


@pytest.mark.parametrize(
    "option",
    [
        *("--scales 0.5", "--flip", "--shorter-edge 450,800", "--tile 512x512", "--device cpu"),
    ],
)
@pytest.mark.parametrize("model", ["street.onnx", "street.fp16.rtx.engine"])
def test_what_is_of_weights_is_refused_for_exported_files(
    option: str, model: str, tiny_camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_of(capsys, model, "--data", tiny_camvid, *option.split())
    assert f"{model}: {option.split()[0]} " in line


@pytest.mark.parametrize("option", ["--provider cpu", "--card street.json"])
def test_what_is_of_exported_files_is_refused_for_weights(
    option: str, tiny_camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = error_of(capsys, WEIGHTS, "--data", tiny_camvid, *option.split())
    assert f"{WEIGHTS}: {option.split()[0]} " in line


def test_a_provider_is_refused_for_an_engine(
    tiny_camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "street.engine"
    engine.write_bytes(b"engine")
    line = error_of(capsys, engine, "--data", tiny_camvid, "--provider", "cuda")
    assert "street.engine " in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--overlap 32", "--overlap"),
        ("--tile 64x512", "expected an overlap smaller"),
        ("--tile 512x512 --overlap 512", "expected an overlap smaller"),
        ("--tile 512", "HEIGHTxWIDTH"),
        ("--shorter-edge 800,450", "expected the smaller one first"),
        ("--shorter-edge 450", "expected two whole numbers"),
        ("--scales 0", "0.1 to 4"),
        ("--device gpu", "'gpu'"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: str, message: str, tiny_camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in error_of(capsys, WEIGHTS, "--data", tiny_camvid, *options.split())


def test_masks_never_replace_the_labels(
    tiny_camvid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    shutil.copytree(tiny_camvid, own, ignore=shutil.ignore_patterns("train"))
    labels = own / "labels/val"
    before = {path.name: path.read_bytes() for path in labels.iterdir()}
    line = error_of(capsys, WEIGHTS, "--data", own, "--save-masks", labels)
    assert str(labels) in line
    assert {path.name: path.read_bytes() for path in labels.iterdir()} == before


def test_evaluating_what_was_exported_imports_no_torch() -> None:
    program = "import sys, refinenet.evaluation.evaluate; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
