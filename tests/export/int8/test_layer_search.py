"""Which layers become INT8 within a budget, and what each of them alone costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import run
from numpy.typing import NDArray

from export.fp16_range import NOT_MEASURED, Peaks
from export.int8 import layer_search
from export.int8.calibration import session_with_outputs
from export.int8.layer_search import (
    SearchOptions,
    measure_sensitivity,
    report,
    search,
    select_layers,
)
from export.int8.sensitivity import LayerLoss, Trial, labelled_samples, layer_losses, open_trial
from export.to_int8 import convolutions, quantize, to_int8
from export.verify.stages import scores_tensor
from refinenet.activation_ranges import Ranges, load_ranges
from refinenet.data.datasets import open_dataset
from runtime.card import read_card
from runtime.errors import InputError

Frame = NDArray[np.uint8]
STEM, HEAD = "network.backbone.stem.0.weight", "network.classifier.0.weight"


@pytest.fixture(scope="session")
def fp32(exported: Path) -> Path:
    return exported / "street.fp32.onnx"


@pytest.fixture(scope="session")
def ranges(exported: Path) -> Ranges:
    return load_ranges(exported / "street.ranges.json")


@pytest.fixture(scope="session")
def tiny_camvid(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CamVid's folder with two training images and one for validation, as links."""
    folder = tmp_path_factory.mktemp("tiny_camvid")
    for split, count in {"train": 2, "val": 1}.items():
        names = (camvid / f"{split}.txt").read_text(encoding="utf-8").split()[:count]
        (folder / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")
        for kind in ("images", "labels"):
            (folder / kind).mkdir(exist_ok=True)
            (folder / kind / split).symlink_to(camvid / kind / split)
    return folder


@pytest.fixture(scope="session")
def trial(fp32: Path, ranges: Ranges, tiny_camvid: Path) -> Trial:
    samples = labelled_samples(open_dataset("camvid", tiny_camvid, "train"))
    return open_trial(fp32, ranges, samples, quiet=True)


@pytest.fixture(scope="session")
def losses(trial: Trial) -> list[LayerLoss]:
    return layer_losses(trial)


def test_without_a_layer_in_int8_the_switches_change_nothing(
    trial: Trial, fp32: Path, small_photo: Frame
) -> None:
    assert (trial.network(small_photo, ()).mask == run(fp32, small_photo)[0]).all()


@pytest.mark.parametrize("count", [1, 5])
def test_switched_layers_compute_what_the_file_computes(
    count: int, trial: Trial, fp32: Path, ranges: Ranges, small_photo: Frame
) -> None:
    chosen = trial.network.layers[-count:]
    model = onnx.load(fp32)
    quantize(model, [layer for layer in convolutions(model) if layer.input[1] in chosen], ranges)
    scores = scores_tensor(model)
    (expected,) = session_with_outputs(model, [scores]).run(None, {"frames": small_photo})
    found = trial.network(small_photo, chosen).scores
    assert found is not None
    assert np.abs(found - expected[0]).max() < 1e-2 * expected.std()
    assert np.abs(found - trial.network(small_photo, ()).scores).max() > 1e-2 * expected.std()


def test_every_convolution_but_the_depthwise_is_measured(losses: list[LayerLoss]) -> None:
    names = [loss.layer for loss in losses]
    assert len(names) == 78 - 17  # the depthwise ones
    assert {STEM, HEAD} <= set(names)
    assert not any("depthwise" in name for name in names)
    assert all(loss.scores_error > 0 for loss in losses)
    by_rule = {loss.layer: loss.by_rule for loss in losses}
    assert by_rule[HEAD]
    assert by_rule[STEM]
    assert list(by_rule.values()).count(None) == 49


SPOILED = "network.blocks.3.pool.convs.0.weight"


@pytest.fixture(scope="module")
def spoiled(fp32: Path, ranges: Ranges, trial: Trial) -> Trial:
    """The same trial, with one range a hundred times too narrow."""
    narrow = replace(ranges, limits={**ranges.limits, SPOILED: ranges.limits[SPOILED] / 100})
    return open_trial(fp32, narrow, trial.samples, quiet=True)


def test_a_bad_range_is_seen_in_its_layer(trial: Trial, spoiled: Trial, small_photo: Frame) -> None:
    def error(trial: Trial) -> float:
        before, after = (trial.network(small_photo, int8).scores for int8 in ((), (SPOILED,)))
        assert before is not None
        assert after is not None
        return float(np.square(after - before).mean())

    assert error(spoiled) > 10 * error(trial) > 0


def test_a_generous_budget_takes_all_layers_in_one_trial(
    trial: Trial, losses: list[LayerLoss]
) -> None:
    found = search(trial, losses, budget_points=99)
    assert set(found.int8) == {loss.layer for loss in losses}
    assert (found.left, found.trials) == ({}, 1)


def test_a_tight_budget_leaves_the_bad_layer_and_says_why(
    spoiled: Trial, losses: list[LayerLoss]
) -> None:
    budget = 0.05
    found = search(spoiled, losses, budget)
    assert found.loss_points <= budget
    assert SPOILED in found.left
    assert set(found.int8) | found.left.keys() == {loss.layer for loss in losses}
    assert all("beyond the budget of 0.05 points of mIoU" in why for why in found.left.values())


def test_the_card_says_what_was_searched_and_what_val_says(
    fp32: Path, ranges: Ranges, tiny_camvid: Path, tmp_path: Path
) -> None:
    sensitivity = tmp_path / "layers.json"
    options = SearchOptions(tiny_camvid, "camvid", 1, sensitivity=sensitivity, quiet=True)
    selection = select_layers(fp32, ranges, NOT_MEASURED, options, 0.5)
    path = to_int8(fp32, tmp_path / "street.int8.onnx", ranges, selection=selection)
    details = read_card(path).details
    searched, reported = details["search"]["searched_on"], details["search"]["reported_on"]
    assert (searched["split"], searched["images"]) == ("train", 1)
    assert searched["loss_points"] <= 0.5
    assert (reported["split"], reported["images"]) == ("val", 1)
    assert reported["loss_points"] == pytest.approx(100 * (reported["fp32"] - reported["int8"]))
    calibration = details["calibration"]
    assert len(calibration["ranges"]) + len(calibration["left_in_fp16"]) == 78
    record = json.loads(sensitivity.read_text(encoding="utf-8"))
    errors = [layer["scores_error"] for layer in record["layers"]]
    assert len(errors) == 78 - 17
    assert errors == sorted(errors, reverse=True)


def test_a_layer_that_fp16_cannot_hold_is_not_offered(
    fp32: Path, ranges: Ranges, tiny_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = next(
        layer
        for layer in convolutions(onnx.load(fp32))
        if layer.input[1] == "network.blocks.3.pool.convs.0.weight"
    )
    peaks = Peaks({chosen.output[0]: 1e6}, {}, 1)
    reported = []

    def kept_report(model: onnx.ModelProto, int8: onnx.ModelProto, *rest: Any) -> Any:
        reported.append(int8)
        return report(model, int8, *rest)

    monkeypatch.setattr(layer_search, "report", kept_report)
    options = SearchOptions(tiny_camvid, "camvid", 1, quiet=True)
    selection = select_layers(fp32, ranges, peaks, options, 99)
    assert "stays FP32" in selection.left_in_fp16[chosen.input[1]]
    written = to_int8(fp32, tmp_path / "street.int8.onnx", ranges, peaks, selection)
    (judged,) = reported
    assert judged.graph == onnx.load(written).graph, "what is reported is what is written"


def test_sensitivity_without_images_is_refused(fp32: Path, ranges: Ranges, tmp_path: Path) -> None:
    options = SearchOptions(None, "camvid", 1, sensitivity=tmp_path / "layers.json")
    with pytest.raises(InputError, match="no images to measure layers on"):
        measure_sensitivity(fp32, ranges, options, ())
