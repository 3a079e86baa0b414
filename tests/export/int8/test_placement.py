"""Where Q/DQ pairs stand: TensorRT's rules, looked up in small graphs and in the real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import nodes, quantizable, readers
from onnx import TensorProto, helper, numpy_helper

from export.int8.placement import reasons_for_fp16, skip_connections
from export.to_int8 import convolutions, quantize
from refinenet.activation_ranges import Ranges

CHANNELS = 64


def residual_block(second_reader: bool = False, projected: bool = False) -> onnx.ModelProto:
    """x, two convolutions, a sum with x, ReLU, and a last convolution.

    second_reader: the second convolution's output is read by something else too.
    projected: the shortcut passes through a pooling, so that no convolution reads it.
    """
    shortcut = "pooled" if projected else "x"
    steps = [
        ("Conv", ["x", "w1"], "one"),
        ("Relu", ["one"], "bent"),
        ("Conv", ["bent", "w2"], "two"),
        ("Add", [shortcut, "two"], "sum"),
        ("Relu", ["sum"], "out"),
        ("Conv", ["out", "w3"], "last"),
    ]
    if projected:
        steps.insert(0, ("GlobalMaxPool", ["x"], "pooled"))
    shape = [1, CHANNELS, 4, 4]
    outputs = ["last", "two"] if second_reader else ["last"]
    weights = np.random.default_rng(0).normal(size=(3, CHANNELS, CHANNELS, 1, 1))
    graph = helper.make_graph(
        [helper.make_node(kind, read, [out], out) for kind, read, out in steps],
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
        [
            numpy_helper.from_array(values.astype(np.float32), f"w{index}")
            for index, values in enumerate(weights, 1)
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    ranges = Ranges("max", "", 0, "", {"w1": 1.0, "w2": 1.0, "w3": 1.0})
    quantize(model, quantizable(model), ranges)
    onnx.checker.check_model(model, full_check=True)
    return model


def test_the_sum_of_a_skip_connection_reads_the_pair_on_its_shortcut() -> None:
    model = quantized(residual_block())
    (add,) = nodes(model, "Add")
    assert list(add.input) == ["x_dequantized", "two"]
    # One pair for both: the shortcut costs no rounding and no kernel of its own.
    assert [node.input[0] for node in nodes(model, "QuantizeLinear")] == ["x", "bent"]


def test_nothing_stands_between_convolution_sum_and_relu() -> None:
    model = quantized(residual_block())
    assert [node.op_type for node in readers(model, "two")] == ["Add"]
    assert [node.op_type for node in readers(model, "sum")] == ["Relu"]


@pytest.mark.parametrize("block", [{"second_reader": True}, {"projected": True}])
def test_a_sum_that_would_not_fuse_stays_fp16(block: dict[str, bool]) -> None:
    (add,) = nodes(quantized(residual_block(**block)), "Add")
    assert "two" in add.input
    assert not any(name.endswith("_dequantized") for name in add.input)


def test_a_shortcut_around_a_convolution_that_stays_fp16_is_not_quantized() -> None:
    model = residual_block()
    (first, _, _) = convolutions(model)
    assert skip_connections(model, [first]) == []


def test_the_sums_of_fusion_and_pooling_stay_fp16(exported: Path) -> None:
    """No one kernel makes them: their inputs are upsampled, or are read by the next link too."""
    model = onnx.load(exported / "street.int8.onnx")
    sums = [node.input for node in nodes(model, "Add")]
    quantized_sums = [names for names in sums if any("_dequantized" in name for name in names)]
    assert len(quantized_sums) == 7  # the shortcuts of MobileNetV2's stages of 64 channels and more
    assert len(sums) > 25


def test_the_only_operators_around_int8_are_its_pairs(exported: Path) -> None:
    model = onnx.load(exported / "street.int8.onnx")
    for pair in nodes(model, "DequantizeLinear"):
        assert {node.op_type for node in readers(model, pair.output[0])} <= {"Conv", "Add"}


def test_reasons_name_every_kind_of_convolution_left_out(exported: Path) -> None:
    reasons = reasons_for_fp16(onnx.load(exported / "street.fp32.onnx"))
    assert len(set(reasons.values())) == 3
    assert len(reasons) == 78 - 49
