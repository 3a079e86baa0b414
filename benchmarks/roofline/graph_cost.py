"""What an ONNX graph costs: multiply-accumulates and bytes, from the shapes in the file itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import onnxruntime
from onnx import numpy_helper, shape_inference

from runtime.errors import InputError
from runtime.files import existing_file
from runtime.onnx.graph_macs import macs_of

LARGEST_CONSTANT_BYTES = 1024  # shapes and sizes, which inference reads, take less


@dataclass(frozen=True)
class LayerCost:
    """One node. macs: multiply-accumulates. bytes: of its inputs, weights and outputs."""

    name: str
    operator: str
    macs: int
    bytes: int


@dataclass(frozen=True)
class GraphCost:
    """A graph, for one call of it.

    batch: frames in a call. bytes: that must move however well nodes are fused: frames, masks and
    weights, each in its own type.
    """

    batch: int
    bytes: int
    layers: tuple[LayerCost, ...]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)


def graph_cost(path: str | Path, frame_size: tuple[int, int] | None = None) -> GraphCost:
    """Count the work of a frame-to-mask ONNX file.

    frame_size: (height, width) for a graph that takes any; its free batch is taken as 1.

    Raises InputError for a file that is no ONNX graph, for shapes that stay unknown, and for an
    operator whose work is not known here.
    """
    path = existing_file(path)
    try:
        model = onnx.load(path)
        if _takes_any_size(model):
            model = _at_one_size(model, frame_size)
        _forget_weights(model)
        model = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # protobuf's, onnx's and shape inference's have no common base
        raise InputError(
            f"the work of {path} cannot be counted: {' '.join(str(error).split())[:200]}. "
            "Give an ONNX file that refinenet export wrote"
        ) from error
    tensors = _tensors(model.graph)
    layers = tuple(_layer(node, tensors, path) for node in model.graph.node)
    ends = [value.name for value in (*model.graph.input, *model.graph.output)]
    weights = [weight.name for weight in model.graph.initializer]
    moved = sum(tensors[name].bytes for name in {*ends, *weights})
    return GraphCost(tensors[model.graph.input[0].name].shape[0], moved, layers)


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    bytes: int


def _takes_any_size(model: Any) -> bool:
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    return not all(dim.HasField("dim_value") for dim in sizes)


def _at_one_size(model: Any, frame_size: tuple[int, int] | None) -> Any:
    """The graph for one frame of that size: what was computed from the size becomes constant.

    ONNX Runtime folds it. At its basic level all operators stay ONNX's own.
    """
    if frame_size is None:
        raise ValueError("it takes frames of any size; say which")
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    for dim, value in zip(sizes, (1, *frame_size, 3), strict=True):
        dim.dim_value = value
    del model.graph.value_info[:]  # shapes in terms of the size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with TemporaryDirectory() as folder:
        folded = Path(folder, "folded.onnx")
        options.optimized_model_filepath = str(folded)
        serialized = model.SerializeToString()
        onnxruntime.InferenceSession(serialized, options, providers=["CPUExecutionProvider"])
        return onnx.load(folded)


def _forget_weights(model: Any) -> None:
    """Keep the shapes of the weights alone: inference copies the whole model twice."""
    for weight in model.graph.initializer:
        if len(weight.raw_data) > LARGEST_CONSTANT_BYTES:
            weight.ClearField("raw_data")


def _tensors(graph: Any) -> Mapping[str, _Tensor]:
    """Shape and size of every tensor that has them, by name."""
    tensors = {
        weight.name: _tensor(tuple(weight.dims), weight.data_type) for weight in graph.initializer
    }
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shape = tuple(dim.dim_value for dim in kind.shape.dim)
            tensors[value.name] = _tensor(shape, kind.elem_type)
    for node in graph.node:
        if node.op_type == "Constant":
            value = numpy_helper.to_array(node.attribute[0].t)
            tensors[node.output[0]] = _Tensor(value.shape, value.nbytes)
    return tensors


def _tensor(shape: tuple[int, ...], elem_type: int) -> _Tensor:
    item_bytes = onnx.helper.tensor_dtype_to_np_dtype(elem_type).itemsize
    return _Tensor(shape, math.prod(shape) * item_bytes)


def _layer(node: Any, tensors: Mapping[str, _Tensor], path: Path) -> LayerCost:
    names = [name for name in (*node.input, *node.output) if name]
    if unknown := [name for name in names if name not in tensors]:
        raise InputError(
            f"{path}: the shape of {unknown[0]} cannot be told; export it with a fixed --size"
        )
    inputs = [tensors[name].shape for name in node.input if name]
    try:
        macs = macs_of(node.op_type, inputs, tensors[node.output[0]].shape)
    except KeyError as error:
        raise InputError(
            f"{path}: the work of the operator {node.op_type} is not known; expected a graph that "
            "refinenet export wrote"
        ) from error
    return LayerCost(
        node.name or node.output[0], node.op_type, macs, sum(tensors[n].bytes for n in set(names))
    )
