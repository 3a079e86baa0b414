"""FP32 ONNX to INT8 ONNX: explicit QuantizeLinear and DequantizeLinear around convolutions, the
rest FP16. Where they stand, and why: docs/quantization.md."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.fp16_range import NOT_MEASURED, Peaks, kept_in_fp32
from export.int8.placement import SkipConnection, reasons_for_fp16, skip_connections
from export.int8.runtimes import DEFAULT_RUNTIME
from export.int8.weight_scales import reason_for_many_scales, step_size, weight_pair
from export.to_fp16 import fp16_details, half
from export.to_onnx import save
from refinenet.activation_ranges import Ranges
from runtime.card import read_card
from runtime.errors import InputError
from runtime.files import existing_file, sha256_of


@dataclass(frozen=True)
class Selection:
    """Which convolutions do not become INT8.

    left_in_fp16: by the name of their weights, with the reason. search: for the card, how they were
    found; nothing for the rule of placement.py.
    """

    left_in_fp16: Mapping[str, str]
    search: Mapping[str, Any] = field(default_factory=dict)


def to_int8(
    fp32_path: Path,
    output: Path,
    ranges: Ranges,
    peaks: Peaks = NOT_MEASURED,
    selection: Selection | None = None,
    int8_for: str = DEFAULT_RUNTIME,
) -> Path:
    """Write the INT8 form of an FP32 ONNX file, with its card; frames and masks stay uint8.

    ranges: of the inputs of the convolutions, by the name of their weights.
    peaks: what FP16 must hold; see to_fp16. What it cannot hold stays FP32.
    selection: by the rule of placement.py by default.
    int8_for: the runtime that the weights' scales suit; see weight_scales.py.

    Raises InputError unless every layer to quantize has a range.
    """
    fp32_path = existing_file(fp32_path)
    model, card = onnx.load(fp32_path), read_card(fp32_path)
    kept = kept_in_fp32(model, peaks)
    selection = selection or Selection(reasons_for_fp16(model))
    left = {**selection.left_in_fp16, **reasons_for_fp32(model, kept)}
    details = {
        "fp16": fp16_details(model, kept, peaks),
        "calibration": calibration_details(model, left, ranges, int8_for),
    }
    if selection.search:
        details["search"] = dict(selection.search)
    card = replace(
        card,
        precision="int8",
        parents={"fp32.onnx": sha256_of(fp32_path)},
        details={**card.details, **details},
    )
    save(int8_graph(model, left, ranges, kept, int8_for), output, card)
    return output


def int8_graph(
    model: onnx.ModelProto,
    left_in_fp16: Collection[str],
    ranges: Ranges,
    kept_in_fp32: Collection[str] = (),
    int8_for: str = DEFAULT_RUNTIME,
) -> onnx.ModelProto:
    """Put Q/DQ pairs on all convolutions of an FP32 graph but some, and turn the rest to FP16.

    In place, since the weights are large; returns the model.

    left_in_fp16: convolutions, by the name of their weights. kept_in_fp32: nodes, by the name of
    their first output.
    """
    layers = [layer for layer in convolutions(model) if layer.input[1] not in left_in_fp16]
    check_ranges(layers, ranges)
    quantize(model, layers, ranges, int8_for)
    return half(model, kept_in_fp32)


def reasons_for_fp32(model: onnx.ModelProto, kept: Mapping[str, str]) -> dict[str, str]:
    """The convolutions among the nodes that FP16 cannot hold: INT8 would end in FP16 too."""
    return {
        layer.input[1]: f"stays FP32: {kept[layer.output[0]]}"
        for layer in convolutions(model)
        if layer.output[0] in kept
    }


def check_ranges(layers: Collection[onnx.NodeProto], ranges: Ranges) -> None:
    """InputError unless every one of these convolutions has a range."""
    missing = [layer.input[1] for layer in layers if layer.input[1] not in ranges.limits]
    if not missing:
        return
    found = f"{len(missing)} of {len(layers)} convolutions have no range, such as {missing[0]}"
    if len(missing) == len(layers):
        raise InputError(
            f"the ranges are of another network: {found}; give calibration images instead"
        )
    raise InputError(
        f"the ranges do not cover every layer: {found}. Those of quantization-aware training hold "
        "only the layers that it made INT8; give calibration images instead"
    )


def calibration_details(
    model: onnx.ModelProto, left_in_fp16: Mapping[str, str], ranges: Ranges, int8_for: str
) -> dict[str, Any]:
    """For the card: all that is needed to calibrate again, and to see what came of it.

    scale_per_channel: of a file for RTX, the layers that keep a scale for each output channel.
    """
    names = [layer.input[1] for layer in convolutions(model)]
    used = [name for name in names if name not in left_in_fp16]
    weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name in used}
    kept: dict[str, str] = {}
    for name, weight in weights.items() if int8_for == "rtx" else ():
        if reason := reason_for_many_scales(numpy_helper.to_array(weight)):
            kept[name] = reason
    return {
        "int8_for": int8_for,
        "scale_per_channel": kept,
        "method": ranges.method,
        "images": ranges.images,
        "image_count": ranges.image_count,
        "images_sha256": ranges.images_sha256,
        "image_names": list(ranges.image_names),
        "quantized_convolutions": len(used),
        "ranges": {name: ranges.limits[name] for name in used if name in ranges.limits},
        "left_in_fp16": dict(left_in_fp16),
    }


def convolutions(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Conv"]


def quantize(
    model: onnx.ModelProto,
    layers: Collection[onnx.NodeProto],
    ranges: Ranges,
    int8_for: str = DEFAULT_RUNTIME,
) -> list[SkipConnection]:
    """Put Q/DQ pairs on the inputs of these convolutions and INT8 weights behind DQ, in place.

    Where such a convolution ends in the sum of a skip connection, the sum reads the shortcut from
    the pair that stands on it already: by NVIDIA's documentation TensorRT fuses convolution, sum
    and ReLU only with an INT8 shortcut. Returns these skip connections.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    chosen = {layer.output[0] for layer in layers}
    limits = {layer.input[0]: ranges.limits[layer.input[1]] for layer in layers}
    skips = skip_connections(model, layers)
    shortcuts = {skip.sum: skip for skip in skips}
    nodes: list[onnx.NodeProto] = []
    quantized: set[str] = set()
    for node in graph.node:
        if node.op_type == "Conv" and node.output[0] in chosen:
            activation, weight = node.input[0], node.input[1]
            if activation not in quantized:  # one pair serves all the convolutions that read it
                nodes += _activation_pair(graph, activation, limits[activation])
                quantized.add(activation)
            if weight in weights:
                nodes.append(weight_pair(graph, weights.pop(weight), int8_for))
            node.input[0], node.input[1] = f"{activation}_dequantized", f"{weight}_dequantized"
        elif skip := shortcuts.get(node.output[0]):
            node.input[skip.place] = f"{skip.shortcut}_dequantized"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return skips


def _activation_pair(
    graph: onnx.GraphProto, tensor: str, limit: float
) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    scale, zero_point = f"{tensor}_scale", f"{tensor}_zero_point"
    graph.initializer.append(numpy_helper.from_array(step_size(np.array(limit)), scale))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), zero_point))
    return (
        helper.make_node(
            "QuantizeLinear",
            [tensor, scale, zero_point],
            [f"{tensor}_quantized"],
            f"{tensor}_quantize",
        ),
        helper.make_node(
            "DequantizeLinear",
            [f"{tensor}_quantized", scale, zero_point],
            [f"{tensor}_dequantized"],
            f"{tensor}_dequantize",
        ),
    )
