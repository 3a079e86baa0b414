"""An ONNX graph read with the standard library is the one that the onnx package wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.errors import InputError
from runtime.onnx.graph import read_graph


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """frames to FP16 to a convolution, whose INT8 weight is dequantized by an FP16 scale."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["frames"], ["planes"], "the_cast", to=TensorProto.FLOAT16),
            helper.make_node("DequantizeLinear", ["weight", "scale", "zero"], ["weights"], axis=0),
            helper.make_node("Conv", ["planes", "weights"], ["scores"], strides=[2, 2]),
            helper.make_node("ArgMax", ["scores"], ["ids"], axis=1),
        ],
        "quantized",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("ids", TensorProto.INT64, (1, 1, 3, 3))],
        [
            numpy_helper.from_array(np.ones((2, 3, 3, 3), np.int8), "weight"),
            numpy_helper.from_array(np.ones(2, np.float16), "scale"),
            numpy_helper.from_array(np.zeros(2, np.int8), "zero"),
        ],
    )
    path = tmp_path / "quantized.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]), path)
    return path


def test_the_nodes_are_those_of_the_package(path: Path) -> None:
    told = [(n.name, n.op_type, list(n.inputs), list(n.outputs)) for n in read_graph(path).nodes]
    nodes = onnx.load(path).graph.node
    assert told == [(n.name, n.op_type, list(n.input), list(n.output)) for n in nodes]


def test_every_tensor_has_its_type(path: Path) -> None:
    types = read_graph(path).types
    assert {name: types[name] for name in ("frames", "weight", "scale")} == {
        "frames": "uint8",
        "weight": "int8",
        "scale": "fp16",
    }
    assert (types["planes"], types["weights"], types["scores"]) == ("fp16", "fp16", "fp16")
    assert types["ids"] == "int64"


def test_the_shapes_of_the_weights_are_known(path: Path) -> None:
    shapes = read_graph(path).initializer_shapes
    assert shapes == {"weight": (2, 3, 3, 3), "scale": (2,), "zero": (2,)}


def test_a_file_cut_short_is_no_whole_onnx_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"quantized\.onnx is not a whole ONNX file"):
        read_graph(path)
