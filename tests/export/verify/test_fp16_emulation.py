"""The emulation shows what ONNX Runtime's CPU provider hides of FP16."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from graphs import run, tensors, two_convolutions, types_of
from numpy.typing import NDArray
from onnx import TensorProto

from export.verify.fp16_emulation import rounded_to_fp16

HUNDRED = np.full((1, 1, 1, 1), 100, np.float16)


@pytest.fixture
def overflowing() -> onnx.ModelProto:
    """100 times 60000 times 1e-4: the product in the middle is beyond FP16's 65504."""
    return two_convolutions(60000, 1e-4, TensorProto.FLOAT16)


def emulated(model: onnx.ModelProto, x: NDArray[np.generic]) -> float:
    return float(run(with_fp16_input(rounded_to_fp16(model)), x).item())


def with_fp16_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """Frames are uint8 in our graphs; here x is FP16, and the widened graph computes in FP32."""
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return model


def test_plain_onnx_runtime_hides_an_overflow(overflowing: onnx.ModelProto) -> None:
    assert run(overflowing, HUNDRED).item() == pytest.approx(600, rel=0.01)


def test_the_emulation_shows_the_overflow(overflowing: onnx.ModelProto) -> None:
    assert emulated(overflowing, HUNDRED.astype(np.float32)) == float("inf")


def test_the_emulation_lets_pass_what_fits() -> None:
    model = two_convolutions(600, 1e-2, TensorProto.FLOAT16)
    assert emulated(model, HUNDRED.astype(np.float32)) == pytest.approx(600, rel=0.01)


def test_the_emulation_rounds_as_half_does() -> None:
    model = two_convolutions(1, 1, TensorProto.FLOAT16)
    third = np.full((1, 1, 1, 1), 1 / 3, np.float32)
    assert emulated(model, third) == float(np.float16(1 / 3)) != float(third.item())


def test_a_graph_without_fp16_stays_as_it_is() -> None:
    model = two_convolutions(60000, 1e-4, TensorProto.FLOAT)
    assert rounded_to_fp16(model).graph.node == model.graph.node
    assert run(rounded_to_fp16(model), HUNDRED.astype(np.float32)).item() == pytest.approx(600)


def test_the_emulation_computes_in_fp32_and_leaves_the_original(
    overflowing: onnx.ModelProto,
) -> None:
    before = overflowing.SerializeToString()
    copy = rounded_to_fp16(overflowing)
    assert {values.dtype for values in tensors(copy).values()} == {np.dtype(np.float32)}
    assert types_of(copy.graph.output) == [TensorProto.FLOAT]
    assert overflowing.SerializeToString() == before
