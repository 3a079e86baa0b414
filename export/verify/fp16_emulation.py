"""What FP16 does to a graph, made visible on a CPU.

ONNX Runtime's CPU provider computes FP16 graphs in FP32 between nodes and so hides rounding and
overflow. Here every FP16 tensor passes through an explicit Cast to FP16 and back.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.onnx_file import typed


def rounded_to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in FP32 and rounds every tensor that was FP16 to FP16.

    A value beyond 65504 becomes infinite, as it does on a GPU. A graph without FP16 comes back as
    it is.
    """
    graph = typed(model)
    halves = {
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    _widen_constants(copy.graph)
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        _widen_casts(node)
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name in halves:
                node.output[index] = f"{name}_unrounded"
                nodes += _rounding(name)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    for output in copy.graph.output:
        if output.type.tensor_type.elem_type == TensorProto.FLOAT16:
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    return copy


def _rounding(name: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    return (
        helper.make_node("Cast", [f"{name}_unrounded"], [f"{name}_half"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT),
    )


def _widen_constants(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _widen_casts(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
            attribute.i = TensorProto.FLOAT
