"""The faults that verification must find, planted into exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from graphs import edit, make_fp16_anew, nodes, set_tensor, tensors

Change = Callable[[onnx.ModelProto], None]


def break_fp32(folder: Path, change: Change) -> None:
    """A fault in the FP32 export, from which FP16 and INT8 are made as ever."""
    edit(folder / "street.fp32.onnx", change)
    make_fp16_anew(folder)
    (folder / "street.int8.onnx").unlink()


def swapped_channels(model: onnx.ModelProto) -> None:
    (gather,) = nodes(model, "Gather")
    set_tensor(model, gather.input[1], np.array([0, 1, 2], np.int64))


def wrong_mean(model: onnx.ModelProto) -> None:
    set_tensor(model, "mean", np.full((1, 3, 1, 1), 127.5, np.float32))


def one_perturbed_weight(model: onnx.ModelProto) -> None:
    name = "network.classifier.0.weight"
    values = tensors(model)[name].copy()
    values.flat[values.size // 2] += 0.1 * values.std()
    set_tensor(model, name, values)


def one_perturbed_convolution(model: onnx.ModelProto) -> None:
    """The weights of one convolution deep in the backbone, one percent too large."""
    name = "network.backbone.stages.4.1.project.0.weight"
    set_tensor(model, name, tensors(model)[name] * np.float32(1.01))


def overflowing_convolution(model: onnx.ModelProto) -> None:
    """The weights of a convolution times 2^16, and its output times 2^-16: the same to FP32."""
    weight = "network.blocks.2.fuse.convs.1.weight"
    set_tensor(model, weight, tensors(model)[weight] * np.float32(2**16))
    (conv,) = (node for node in nodes(model, "Conv") if node.input[1] == weight)
    down = np.array(2.0**-16, np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(down, "down"))
    result, conv.output[0] = conv.output[0], "large"
    position = list(model.graph.node).index(conv) + 1
    model.graph.node.insert(position, onnx.helper.make_node("Mul", ["large", "down"], [result]))


def plant_overflow(model: onnx.ModelProto) -> None:
    """The classifier's input times 2^15 and back: FP32 does not notice, since powers of two are
    exact, and in FP16 everything above 2 overflows."""
    classifier = nodes(model, "Conv")[-1]
    activation, position = classifier.input[0], list(model.graph.node).index(classifier)
    up, down = (np.array(factor, np.float32) for factor in (2.0**15, 2.0**-15))
    model.graph.initializer.append(onnx.numpy_helper.from_array(up, "up"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(down, "down"))
    model.graph.node[position].input[0] = "small_again"
    for inputs, output in ((["large", "down"], "small_again"), ([activation, "up"], "large")):
        model.graph.node.insert(position, onnx.helper.make_node("Mul", inputs, [output]))


def one_bad_scale(model: onnx.ModelProto) -> None:
    """The range of one activation of the last block, 100 times too narrow."""
    weight = "network.blocks.3.fuse.convs.1.weight_dequantized"
    (conv,) = (node for node in nodes(model, "Conv") if node.input[1] == weight)
    (pair,) = (node for node in model.graph.node if conv.input[0] in node.output)
    set_tensor(model, pair.input[1], tensors(model)[pair.input[1]] / np.float16(100))
