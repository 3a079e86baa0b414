"""FP32 ONNX to FP16 ONNX: the precision lies in the file, since strongly typed networks know no
other place for it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from export.fp16_range import NOT_MEASURED, Peaks, kept_in_fp32
from export.onnx_file import typed
from export.to_onnx import save
from runtime.card import read_card
from runtime.files import existing_file, sha256_of


def to_fp16(fp32_path: Path, output: Path, peaks: Peaks = NOT_MEASURED) -> Path:
    """Write the FP16 form of an FP32 ONNX file, with its card; the frames and masks stay uint8.

    peaks: what the graph reaches on real images. The nodes that FP16 cannot hold stay FP32, and the
    card lists them. Without peaks the constants alone are looked at, and the card says so.

    Raises InputError if a weight is not a number.
    """
    fp32_path = existing_file(fp32_path)
    model, card = onnx.load(fp32_path), read_card(fp32_path)
    kept = kept_in_fp32(model, peaks)
    card = replace(
        card,
        precision="fp16",
        parents={"fp32.onnx": sha256_of(fp32_path)},
        details={**card.details, "fp16": fp16_details(model, kept, peaks)},
    )
    save(half(model, kept), output, card)
    return output


def fp16_details(model: onnx.ModelProto, kept: Mapping[str, str], peaks: Peaks) -> dict[str, Any]:
    """For the card: what stays FP32 and why, and on how many images that was measured."""
    nodes = {node.output[0]: node for node in model.graph.node}
    return {
        "measured_images": peaks.images,
        "kept_in_fp32": [
            {"node": nodes[name].name or name, "operator": nodes[name].op_type, "reason": reason}
            for name, reason in kept.items()
        ],
    }


def half(model: onnx.ModelProto, kept: Container[str] = ()) -> onnx.ModelProto:
    """Turn every float32 tensor to FP16, Resize's scales aside (they must stay float32).

    In place, since the weights are large; returns the model.

    kept: the nodes that stay FP32, by the name of their first output. Between two of them nothing
    passes through FP16.

    op_block_list is empty because TensorRT runs all of these operators in FP16; the converter's
    own list is for ONNX Runtime's CPU kernels.
    """
    # The converter's own node_block_list puts every blocked node between two Casts, so that what
    # overflows becomes infinite on the way to the next blocked node, and clips weights that both
    # kinds share. It converts FLOAT alone, hence this detour: what is kept waits as DOUBLE.
    _keep_as_double(model, kept)
    graph = typed(model)
    model.graph.value_info.extend(graph.value_info)
    del model.graph.output[:]
    model.graph.output.extend(graph.output)
    convert_float_to_float16(model, disable_shape_infer=True, op_block_list=[])
    _double_to_float(model.graph)
    return model


def _keep_as_double(model: onnx.ModelProto, kept: Container[str]) -> None:
    """Let the kept nodes compute in DOUBLE, with Casts to and from the others."""
    wide = _Widening(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.output[0] in kept:
            nodes += wide.widened(node)
        else:
            nodes += wide.narrowed(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    wide.drop_replaced_constants()
    for output in model.graph.output:
        if output.name in wide.doubles:
            output.type.tensor_type.elem_type = TensorProto.DOUBLE


class _Widening:
    """Turns nodes of a graph to DOUBLE one by one, in the graph's order.

    doubles: the tensors that are DOUBLE so far.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        _constants_to_initializers(self.graph)
        graph = typed(model)
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.floats = {
            value.name
            for value in (*graph.input, *graph.value_info, *graph.output)
            if value.type.tensor_type.elem_type == TensorProto.FLOAT
        } | {name for name, t in self.constants.items() if t.data_type == TensorProto.FLOAT}
        del self.graph.value_info[:]
        self.doubles: set[str] = set()

    def widened(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The node in DOUBLE, behind the Casts that it needs."""
        casts = []
        for index, name in enumerate(node.input):
            if name not in self.floats or name in self.doubles:
                continue
            if node.op_type == "Resize" and index == 2:  # its scales are float32 always
                continue
            node.input[index] = wide = f"{name}_fp32"
            if wide in self.doubles:
                continue
            self.doubles.add(wide)
            if name in self.constants:
                values = numpy_helper.to_array(self.constants[name]).astype(float)
                self.graph.initializer.append(numpy_helper.from_array(values, wide))
            else:
                casts.append(helper.make_node("Cast", [name], [wide], to=TensorProto.DOUBLE))
        for attribute in node.attribute:
            if (
                node.op_type == "Cast"
                and attribute.name == "to"
                and attribute.i == TensorProto.FLOAT
            ):
                attribute.i = TensorProto.DOUBLE
        self.doubles.update(name for name in node.output if name in self.floats)
        return [*casts, node]

    def narrowed(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The node as it is, reading FLOAT copies of what is DOUBLE."""
        casts = []
        for index, name in enumerate(node.input):
            if name in self.doubles:
                node.input[index] = narrow = f"{name}_fp16"
                if narrow not in self.floats:
                    self.floats.add(narrow)
                    casts.append(helper.make_node("Cast", [name], [narrow], to=TensorProto.FLOAT))
        return [*casts, node]

    def drop_replaced_constants(self) -> None:
        """Remove the constants that nothing reads since all their readers became DOUBLE."""
        read = {name for node in self.graph.node for name in node.input}
        for tensor in list(self.graph.initializer):
            if f"{tensor.name}_fp32" in self.doubles and tensor.name not in read:
                self.graph.initializer.remove(tensor)


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Floats that Constant nodes hold, as initializers: the one form of a constant from here on."""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        value = helper.get_attribute_value(node.attribute[0])
        kind = node.attribute[0].name
        if kind in ("value_float", "value_floats"):
            value = numpy_helper.from_array(np.array(value, np.float32))
        elif kind != "value" or value.data_type != TensorProto.FLOAT:
            continue
        graph.initializer.add().CopyFrom(value)
        graph.initializer[-1].name = node.output[0]
        graph.node.remove(node)


def _double_to_float(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.DOUBLE:
            values = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.DOUBLE:
                attribute.i = TensorProto.FLOAT
    for value in (*graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
