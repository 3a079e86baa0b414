"""Every planted fault is found in its stage, and named by the layer that it was planted in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from graphs import edit
from planted_faults import (
    Change,
    break_fp32,
    one_bad_scale,
    one_perturbed_convolution,
    one_perturbed_weight,
    overflowing_convolution,
    plant_overflow,
    swapped_channels,
    wrong_mean,
)
from torch import nn

from export.verify.layer_drift import ORDINARY, LayerReport, against_fp32, against_pytorch
from export.verify.verdict import FAILED, StageResult
from export.verify.verify import VerifyOptions, inside, save_results, verify
from runtime.frames import Frame
from runtime.normalization import IMAGENET

Run = Callable[[], tuple[StageResult, LayerReport]]


@pytest.fixture
def options(folder: Path, weights: Path, photo: Path) -> VerifyOptions:
    """A copy of the exports, compared on the photo."""
    return VerifyOptions(folder, str(weights), images=photo, quiet=True)


def first_failure(options: VerifyOptions) -> tuple[StageResult, LayerReport]:
    """The first stage that fails, and its layers."""
    failed = next(result for result in verify(options) if result.status == FAILED)
    return failed, inside(options, failed.name)


@pytest.mark.parametrize(
    ("fault", "stage", "reason", "layer"),
    [
        (swapped_channels, "fp32", "red and blue are swapped", "the network's input"),
        (
            wrong_mean,
            "fp32",
            "as if normalized with mean 0.500, 0.500, 0.500 and std 0.229, 0.224, 0.225",
            "the network's input",
        ),
        (one_perturbed_weight, "fp32", "scores differ by", "classifier.0"),
        (
            one_perturbed_convolution,
            "fp32",
            "scores differ by",
            "backbone.stages.4.1.project.0",
        ),
        (plant_overflow, "fp16", "not finite: a value overflows", "Mul large"),
        (overflowing_convolution, "fp16", "not finite: a value", "blocks.2.fuse.convs.1"),
    ],
)
def test_a_fault_in_the_export_is_named(
    fault: Change, stage: str, reason: str, layer: str, options: VerifyOptions
) -> None:
    break_fp32(options.folder, fault)
    failed, layers = first_failure(options)
    assert (failed.name, layers.stage) == (stage, stage)
    assert reason in failed.reason
    assert layers.first is not None
    assert layers.first.name == layer
    standing_out = [error.name for error in layers.layers if error.own_error > layers.limit]
    assert standing_out[0] == layer
    assert set(standing_out) <= {layer, "Mul conv2d_65"}  # what reads an infinity, if anything


def test_a_bad_scale_is_named(options: VerifyOptions) -> None:
    edit(options.folder / "street.int8.onnx", one_bad_scale)
    failed, layers = first_failure(options)
    assert failed.name == layers.stage == "int8"
    assert re.search(r"^\d\S*% .*\d%", failed.reason)
    assert [error.name for error in layers.layers if error.own_error > layers.limit] == [
        "blocks.3.fuse.convs.1"
    ]


@pytest.fixture(scope="session")
def sound(exported: Path, network: nn.Module, small_photo: Frame) -> dict[str, LayerReport]:
    """The layers of the exports as they are, by stage."""
    fp32 = exported / "street.fp32.onnx"
    return {
        "fp32": against_pytorch(fp32, network, IMAGENET, [small_photo]),
        "fp16": against_fp32(exported / "street.fp16.onnx", fp32, [small_photo]),
        "int8": against_fp32(exported / "street.int8.onnx", fp32, [small_photo]),
    }


@pytest.mark.parametrize("stage", ["fp32", "fp16", "int8"])
def test_no_layer_of_a_sound_export_stands_out(stage: str, sound: dict[str, LayerReport]) -> None:
    report = sound[stage]
    assert report.first is None
    largest = max(layer.own_error for layer in report.layers)
    assert 0 < largest < 0.6 * ORDINARY[stage]


def test_every_convolution_is_compared(sound: dict[str, LayerReport], network: nn.Module) -> None:
    convolutions = {
        name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)
    }
    for report in sound.values():
        assert convolutions <= {layer.name for layer in report.layers}


def test_drift_gathers_where_own_errors_do_not(sound: dict[str, LayerReport]) -> None:
    last = sound["int8"].layers[-1]  # an upsampling: it adds next to nothing
    assert last.own_error < 1e-3 < 1e-2 < last.drift


def test_a_graph_equals_itself(exported: Path, small_photo: Frame) -> None:
    fp32 = exported / "street.fp32.onnx"
    report = against_fp32(fp32, fp32, [small_photo, small_photo])
    assert {layer.own_error for layer in report.layers} == {0.0}
    assert {layer.drift for layer in report.layers} == {0.0}


def test_any_size_and_batch_can_be_compared(
    dynamic: Path, network: nn.Module, small_photo: Frame
) -> None:
    frames = np.repeat(small_photo[:, :96, :128], 2, axis=0)
    report = against_pytorch(dynamic, network, IMAGENET, [frames])
    assert report.first is None
    assert report.layers[-1].drift < 1e-4


def test_a_layer_that_overflows_is_null_in_the_record(
    options: VerifyOptions, tmp_path: Path
) -> None:
    break_fp32(options.folder, plant_overflow)
    report = inside(options, "fp16")
    save_results([], tmp_path / "record.json", "refinenet verify", report)
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert record["layers"]["first"] == "Mul large"
    errors = {layer["name"]: layer["own_error"] for layer in record["layers"]["layers"]}
    assert errors["Mul large"] is None
    assert errors["backbone.stem.0"] == pytest.approx(report.layers[5].own_error)
