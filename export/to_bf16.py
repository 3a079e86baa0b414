"""FP32 ONNX to BF16 ONNX: FP32's range in FP16's size, with 8 bits of precision instead of 11."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, defs, numpy_helper

from export.onnx_file import typed
from export.to_onnx import save
from runtime.card import read_card
from runtime.errors import InputError
from runtime.files import existing_file, sha256_of

# The first opset whose Conv and MaxPool take bfloat16.
OPSET = 22
# Of Resize's inputs: region, scales and sizes stay as they are.
RESIZE_SIZES = slice(1, None)


def to_bf16(fp32_path: Path, output: Path) -> Path:
    """Write the BF16 form of an FP32 ONNX file, with its card; frames and masks stay uint8.

    Every float tensor becomes bfloat16, Resize's scales aside. Nothing stays FP32: what FP32 holds,
    bfloat16 holds too.

    Raises InputError for an operator that ONNX does not have in bfloat16.
    """
    fp32_path = existing_file(fp32_path)
    model, card = onnx.load(fp32_path), read_card(fp32_path)
    _check_operators(model, fp32_path)
    card = replace(card, precision="bf16", parents={"fp32.onnx": sha256_of(fp32_path)})
    save(brain_float(model), output, card)
    return output


def brain_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turn every float32 tensor to bfloat16, in place, since the weights are large; returns the
    model, at opset 22."""
    graph = typed(model)
    model.graph.value_info.extend(graph.value_info)
    del model.graph.output[:]
    model.graph.output.extend(graph.output)
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = max(opset.version, OPSET)
    kept = {
        name
        for node in model.graph.node
        if node.op_type == "Resize"
        for name in node.input[RESIZE_SIZES]
    }
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in kept:
            _round(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                if attribute.t.data_type == TensorProto.FLOAT and node.output[0] not in kept:
                    _round(attribute.t)
            elif (
                node.op_type == "Cast"
                and attribute.name == "to"
                and attribute.i == TensorProto.FLOAT
            ):
                attribute.i = TensorProto.BFLOAT16
    for value in (*model.graph.value_info, *model.graph.output):
        kind = value.type.tensor_type
        if kind.elem_type == TensorProto.FLOAT and value.name not in kept:
            kind.elem_type = TensorProto.BFLOAT16
    return model


def _round(tensor: onnx.TensorProto) -> None:
    """To bfloat16: the upper half of a float32's bits, rounded to nearest, ties to even."""
    values = numpy_helper.to_array(tensor)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    brief = onnx.TensorProto(name=tensor.name, data_type=TensorProto.BFLOAT16, dims=values.shape)
    brief.raw_data = rounded.astype("<u2").tobytes()
    tensor.CopyFrom(brief)


def _check_operators(model: onnx.ModelProto, path: Path) -> None:
    floats = {
        value.name
        for value in typed(model).value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    for node in model.graph.node:
        if not floats.intersection((*node.input, *node.output)):
            continue
        if not _has_bfloat16(node):
            raise InputError(
                f"{path}: the operator {node.op_type} ({node.name}) cannot become bfloat16 at "
                f"opset {OPSET}; leave bf16 out of --precision"
            )


def _has_bfloat16(node: onnx.NodeProto) -> bool:
    if not defs.has(node.op_type, node.domain):
        return False
    schema = defs.get_schema(node.op_type, OPSET, node.domain)
    types = {name for c in schema.type_constraints for name in c.allowed_type_strs}
    return "tensor(bfloat16)" in types
