"""FP32 ONNX to FP16 ONNX: every number between frame and mask, and the same masks."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import agreement, edit, nodes, run, set_tensor, tensors, types_of
from numpy.typing import NDArray
from onnx import TensorProto

from export.to_fp16 import to_fp16
from export.verify.fp16_emulation import rounded_to_fp16
from runtime.card import read_card
from runtime.errors import InputError
from runtime.files import sha256_of

Frame = NDArray[np.uint8]
WEIGHT = "network.classifier.0.weight"


def floats(model: onnx.ModelProto) -> set[str]:
    """Where the graph has float32, Resize's scales aside."""
    scales = {node.input[2] for node in nodes(model, "Resize") if len(node.input) > 2}
    typed = onnx.shape_inference.infer_shapes(model)
    values = {v.name for v in typed.graph.value_info if types_of([v]) == [TensorProto.FLOAT]}
    constants = {name for name, v in tensors(model).items() if v.dtype == np.float32}
    return (values | constants) - scales


def test_every_float_became_fp16(exported: Path) -> None:
    assert floats(onnx.load(exported / "street.fp16.onnx")) == set()


def test_the_check_sees_a_float_that_stayed(exported: Path) -> None:
    assert WEIGHT in floats(onnx.load(exported / "street.fp32.onnx"))


def test_frames_and_masks_stay_uint8(exported: Path) -> None:
    graph = onnx.load(exported / "street.fp16.onnx").graph
    assert types_of(graph.input) == types_of(graph.output) == [TensorProto.UINT8]


def test_the_card_names_the_precision_and_the_parent(exported: Path) -> None:
    card, parent = read_card(exported / "street.fp16.onnx"), exported / "street.fp32.onnx"
    assert card.precision == "fp16"
    assert card.parents == {"fp32.onnx": sha256_of(parent)}
    assert card.input_shape == read_card(parent).input_shape


def test_the_masks_are_those_of_fp32(exported: Path, streets: list[Frame]) -> None:
    half = rounded_to_fp16(onnx.load(exported / "street.fp16.onnx"))
    shares = [agreement(run(half, f), run(exported / "street.fp32.onnx", f)) for f in streets]
    assert np.mean(shares) >= 0.995


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_weight_that_is_no_number_is_refused_by_name(value: float, folder: Path) -> None:
    edit(folder / "street.fp32.onnx", lambda model: _set_one(model, value))
    (folder / "street.fp16.onnx").unlink()
    with pytest.raises(InputError, match=rf"{WEIGHT} reaches (inf|nan)"):
        to_fp16(folder / "street.fp32.onnx", folder / "street.fp16.onnx")
    assert not (folder / "street.fp16.onnx").exists()


@pytest.mark.parametrize("value", [70000.0, -70000.0])
def test_a_weight_beyond_fp16_keeps_its_convolution_in_fp32(value: float, folder: Path) -> None:
    edit(folder / "street.fp32.onnx", lambda model: _set_one(model, value))
    fp16 = to_fp16(folder / "street.fp32.onnx", folder / "street.fp16.onnx")
    (entry,) = read_card(fp16).details["fp16"]["kept_in_fp32"]
    assert entry["operator"] == "Conv"
    assert re.search(rf" {re.escape(WEIGHT)} .* 7e\+04, .* 65504$", entry["reason"])
    assert tensors(onnx.load(fp16))[f"{WEIGHT}_fp32"].flat[5] == value


def test_nothing_of_the_shipped_weights_stays_fp32(exported: Path) -> None:
    for precision in ("fp16", "int8"):
        fp16 = read_card(exported / f"street.{precision}.onnx").details["fp16"]
        assert fp16 == {"measured_images": 1, "kept_in_fp32": []}


def _set_one(model: onnx.ModelProto, value: float) -> None:
    values = tensors(model)[WEIGHT].copy()
    values.flat[5] = value
    set_tensor(model, WEIGHT, values)


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"street\.fp32\.onnx"):
        to_fp16(tmp_path / "street.fp32.onnx", tmp_path / "street.fp16.onnx")
