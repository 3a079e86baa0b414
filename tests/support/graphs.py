"""Look into ONNX graphs, run them, and break them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from export.frame_model import FrameModel
from export.int8.placement import reasons_for_fp16
from export.quiet_exporter import forget_source
from export.to_fp16 import to_fp16
from export.to_int8 import convolutions
from export.to_onnx import OnnxOptions, save, traced
from runtime.card import read_card
from runtime.files import sha256_of

Values = NDArray[np.generic]


def tensors(model: onnx.ModelProto) -> dict[str, Values]:
    """The initializers by name."""
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def types_of(values: Iterable[onnx.ValueInfoProto]) -> list[int]:
    return [value.type.tensor_type.elem_type for value in values]


def nodes(model: onnx.ModelProto, op_type: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == op_type]


def quantizable(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The convolutions that become INT8 by the rule."""
    left = reasons_for_fp16(model)
    return [layer for layer in convolutions(model) if layer.input[1] not in left]


def readers(model: onnx.ModelProto, tensor: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if tensor in node.input]


def run(model: Path | onnx.ModelProto, frames: NDArray[np.generic]) -> Values:
    """The one output, by ONNX Runtime on the CPU as it comes."""
    content = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    result: Values = session.run(None, {session.get_inputs()[0].name: frames})[0]
    return result


def agreement(one: Values, other: Values) -> float:
    """The share of equal pixels."""
    return float(np.mean(one == other))


def edit(path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Break a file and describe it anew, as an exporter with that fault would have written it."""
    model, card = onnx.load(path), read_card(path)
    change(model)
    save(model, path, card)


def set_tensor(model: onnx.ModelProto, name: str, values: Values) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(values, name))
            return
    raise AssertionError(f"no initializer {name}")


def make_fp16_anew(folder: Path) -> None:
    to_fp16(folder / "street.fp32.onnx", folder / "street.fp16.onnx")


def adopt(child: Path, fp32: Path) -> None:
    """Say of a file that it was made from this FP32 file."""
    parents = {"fp32.onnx": sha256_of(fp32)}
    save(onnx.load(child), child, replace(read_card(child), parents=parents))


def two_convolutions(first: float, second: float, kind: int) -> onnx.ModelProto:
    """x (1, 1, 1, 1) times one weight, then times another, in FLOAT or FLOAT16."""
    helper, dtype = onnx.helper, helper_dtype(kind)
    shape = (1, 1, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "first"], ["middle"]),
            helper.make_node("Conv", ["middle", "second"], ["half"]),
            helper.make_node("Cast", ["half"], ["y"], to=TensorProto.FLOAT),
        ],
        "two convolutions",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(np.full(shape, first, dtype), "first"),
            numpy_helper.from_array(np.full(shape, second, dtype), "second"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def helper_dtype(kind: int) -> np.dtype[np.generic]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))


def exported(model: FrameModel, options: OnnxOptions) -> onnx.ModelProto:
    """The graph as an export has it, without comparisons and files."""
    graph = traced(model, options)
    forget_source(graph)
    return graph
