"""The work of a graph, from the shapes that its file states."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.onnx.graph_macs import graph_macs, macs_of


def saved(
    path: Path, node: onnx.NodeProto, weight: tuple[int, ...], out: tuple[int | str, ...]
) -> Path:
    """One node on x, (1, 4, 10, 12), with weights that are dequantized; its output is y."""
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", ["w8", "scale"], ["w"]), node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 10, 12))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [
            numpy_helper.from_array(np.zeros(weight, np.int8), "w8"),
            numpy_helper.from_array(np.float32(1), "scale"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)]), path)
    return path


CASES = {
    "Conv": ((8, 2, 3, 3), (1, 8, 8, 10), 8 * 80 * 2 * 9),
    "ConvTranspose": ((4, 3, 2, 2), (1, 3, 20, 24), 4 * 120 * 3 * 4),
    "MatMul": ((12, 7), (1, 4, 10, 7), 4 * 10 * 7 * 12),
}


@pytest.mark.parametrize("operator", CASES)
def test_the_work_of_an_operator(tmp_path: Path, operator: str) -> None:
    weight, out, macs = CASES[operator]
    node = helper.make_node(operator, ["x", "w"], ["y"])
    assert graph_macs(saved(tmp_path / "one.onnx", node, weight, out)) == macs


def test_a_gemm_multiplies_all_of_its_first_input() -> None:
    assert macs_of("Gemm", [(5, 6), (6, 7), (7,)], (5, 7)) == 5 * 6 * 7


def test_a_free_size_leaves_the_work_open(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    path = saved(tmp_path / "free.onnx", node, (8, 4, 3, 3), (1, 8, "height", 10))
    assert graph_macs(path) is None


def test_a_shape_that_is_not_stated_leaves_the_work_open(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["unknown", "w"], ["y"])
    assert graph_macs(saved(tmp_path / "odd.onnx", node, (8, 4, 3, 3), (1, 8, 8, 10))) is None


@pytest.mark.parametrize("operator", ["Conv", "MatMul", "ConvTranspose"])
def test_a_node_without_weights_leaves_the_work_open(tmp_path: Path, operator: str) -> None:
    node = helper.make_node(operator, ["x"], ["y"])
    assert graph_macs(saved(tmp_path / "odd.onnx", node, (8, 4, 3, 3), (1, 8, 8, 10))) is None
