"""What FP16 and BF16 do to a graph, made visible on a CPU.

ONNX Runtime's CPU provider computes FP16 graphs in FP32 between nodes and so hides rounding and
overflow; BF16 it does not compute at all. Here every such tensor passes through an explicit Cast to
its type and back. What is stored is rounded, and what is accumulated inside a node is FP32: a GPU
that accumulates in FP16 may differ.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.onnx_file import typed

NARROW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def rounded_to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in FP32 and rounds every tensor that was FP16 or BF16 to that type.

    A value beyond 65504 becomes infinite in FP16, as it does on a GPU. A graph without either comes
    back as it is.
    """
    graph = typed(model)
    narrow = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type in NARROW
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
            if name in narrow:
                node.output[index] = f"{name}_unrounded"
                nodes += _rounding(name, narrow[name])
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    for output in copy.graph.output:
        if output.type.tensor_type.elem_type in NARROW:
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    return copy


def _rounding(name: str, kind: int) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    return (
        helper.make_node("Cast", [f"{name}_unrounded"], [f"{name}_half"], to=kind),
        helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT),
    )


def _widen_constants(graph: onnx.GraphProto) -> None:
    attributes = (
        attribute.t
        for node in graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.TENSOR
    )
    for tensor in (*graph.initializer, *attributes):
        if tensor.data_type in NARROW:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _widen_casts(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in NARROW:
            attribute.i = TensorProto.FLOAT
