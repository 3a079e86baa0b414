"""FP32 ONNX to INT8 ONNX: explicit QuantizeLinear and DequantizeLinear around convolutions, the
rest FP16.

By TensorRT's rules for strongly typed networks: symmetric, zero point 0; activations per tensor,
weights per output channel (axis 0), biases never; nothing between a convolution and what it fuses
with.

What stays FP16, and why:
- the last convolution: it draws the class borders, and is small;
- convolutions with fewer than 64 input channels, the first one among them: they leave the INT8
  units of a tensor core half empty, and lose the most (two of them alone cost LW-MobileNetV2 over
  one percent of the pixels each, all 22 of the deep backbone together 0.4);
- depthwise convolutions: tensor cores do not serve them, and TensorRT-RTX 1.7 unrolls them in INT8
  (a plan of 39.8 MB instead of 12.8 MB for LW-MobileNetV2).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.calibration import Ranges
from export.to_fp16 import half
from export.to_onnx import save
from runtime.card import read_card
from runtime.errors import InputError
from runtime.files import existing_file, sha256_of

INT8_MAX = 127
MIN_INPUT_CHANNELS = 64
SMALLEST_SCALE = 2.0**-24  # FP16's smallest number above zero


def to_int8(fp32_path: Path, output: Path, ranges: Ranges) -> Path:
    """Write the INT8 form of an FP32 ONNX file, with its card; frames and masks stay uint8.

    ranges: of the inputs of the convolutions, by the name of their weights.

    Raises InputError if the ranges are of another network.
    """
    fp32_path = existing_file(fp32_path)
    model = onnx.load(fp32_path)
    layers = quantizable(model)
    if missing := [layer.input[1] for layer in layers if layer.input[1] not in ranges.limits]:
        raise InputError(
            f"the ranges are of another network: {len(missing)} of {len(layers)} convolutions have "
            f"none, such as {missing[0]}; give calibration images instead"
        )
    quantize(model, layers, ranges)
    calibration = {
        "method": ranges.method,
        "images": ranges.images,
        "image_count": ranges.image_count,
        "images_sha256": ranges.images_sha256,
        "quantized_convolutions": len(layers),
    }
    card = read_card(fp32_path)
    card = replace(
        card,
        precision="int8",
        parents={"fp32.onnx": sha256_of(fp32_path)},
        details={**card.details, "calibration": calibration},
    )
    save(half(model), output, card)
    return output


def quantizable(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The convolutions that become INT8."""
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return [
        node
        for node in convolutions[:-1]
        # (out, in / groups, height, width): a depthwise weight has one input channel.
        if node.input[1] in shapes and shapes[node.input[1]][1] >= MIN_INPUT_CHANNELS
    ]


def quantize(model: onnx.ModelProto, layers: list[onnx.NodeProto], ranges: Ranges) -> None:
    """Put Q/DQ pairs on the inputs of these convolutions and INT8 weights behind DQ, in place."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    chosen = {layer.output[0] for layer in layers}
    limits = _limit_by_tensor(layers, ranges)
    nodes: list[onnx.NodeProto] = []
    quantized: set[str] = set()
    for node in graph.node:
        if node.op_type == "Conv" and node.output[0] in chosen:
            activation, weight = node.input[0], node.input[1]
            if activation not in quantized:  # one pair serves all the convolutions that read it
                nodes += _activation_pair(graph, activation, limits[activation])
                quantized.add(activation)
            if weight in weights:
                nodes.append(_weight_pair(graph, weights.pop(weight)))
            node.input[0], node.input[1] = f"{activation}_dequantized", f"{weight}_dequantized"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _limit_by_tensor(layers: list[onnx.NodeProto], ranges: Ranges) -> dict[str, float]:
    return {layer.input[0]: ranges.limits[layer.input[1]] for layer in layers}


def _activation_pair(
    graph: onnx.GraphProto, tensor: str, limit: float
) -> tuple[onnx.NodeProto, onnx.NodeProto]:
    scale, zero_point = f"{tensor}_scale", f"{tensor}_zero_point"
    graph.initializer.append(numpy_helper.from_array(_scale(np.array(limit)), scale))
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


def _weight_pair(graph: onnx.GraphProto, weight: onnx.TensorProto) -> onnx.NodeProto:
    values = numpy_helper.to_array(weight)  # (out, in, height, width)
    scale = _scale(np.abs(values).max(axis=(1, 2, 3)))  # (out,)
    steps = np.rint(values / scale[:, None, None, None])
    integers = np.clip(steps, -INT8_MAX, INT8_MAX).astype(np.int8)
    name = weight.name
    graph.initializer.remove(weight)
    graph.initializer.append(numpy_helper.from_array(integers, f"{name}_int8"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
    zero_point = numpy_helper.from_array(np.zeros(len(scale), np.int8), f"{name}_zero_point")
    graph.initializer.append(zero_point)
    return helper.make_node(
        "DequantizeLinear",
        [f"{name}_int8", f"{name}_scale", f"{name}_zero_point"],
        [f"{name}_dequantized"],
        f"{name}_dequantize",
        axis=0,
    )


def _scale(limit: NDArray[np.floating]) -> NDArray[np.float32]:
    """The step size, as FP16 stores it, rounded up: rounded down, the largest value would be
    clipped, by several steps where FP16 is subnormal."""
    scale = np.maximum(np.asarray(limit, np.float32) / INT8_MAX, SMALLEST_SCALE)
    with np.errstate(over="ignore"):  # half() refuses a scale beyond FP16
        nearest = scale.astype(np.float16)
        above = np.nextafter(nearest, np.float16(np.inf))
    return np.asarray(np.where(nearest < scale, above, nearest), np.float32)
