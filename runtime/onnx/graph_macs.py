"""The multiply-accumulates of an ONNX graph, from the shapes that the file itself states."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from runtime.onnx.graph import read_graph

# Where an operator's weights stand among its inputs. What a convolution multiplies for one value of
# its output is the kernel over one group's channels: the weights' shape without the first axis.
CONVOLUTION_WEIGHTS = {
    "Conv": 1,
    "FusedConv": 1,  # ONNX Runtime's, with the activation in it
    "ConvInteger": 1,
    "QLinearConv": 3,
}
PRODUCTS = ("ConvTranspose", "Gemm", "MatMul")

# Counted without multiply-accumulates, as the field does: a comparison, a copy, a few operations
# for each value.
WITHOUT_MACS = frozenset(
    (
        *("Add", "ArgMax", "BatchNormalization", "Cast", "Clip", "Concat", "Constant"),
        *("DequantizeLinear", "Div", "Floor", "Gather", "Identity", "Max", "MaxPool", "Min"),
        *("Mul", "Pad", "QuantizeLinear", "Relu", "Reshape", "Resize", "Round", "Shape", "Slice"),
        *("Softmax", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Upsample"),
    )
)

# These give a tensor of the shape that they take.
SAME_SHAPE = frozenset(("Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Relu", "Clip"))

Shape = Sequence[int]


def macs_of(operator: str, inputs: Sequence[Shape], output: Shape) -> int:
    """The multiply-accumulates of one node, from the shapes of its inputs and its output.

    Raises KeyError for an operator that is not known here.
    """
    if operator in CONVOLUTION_WEIGHTS:
        weights = inputs[CONVOLUTION_WEIGHTS[operator]]
        return math.prod(output) * math.prod(weights[1:])
    if operator == "ConvTranspose":  # its weights are (in, out / groups, height, width)
        return math.prod(inputs[0]) * math.prod(inputs[1][1:])
    if operator == "MatMul":
        return math.prod(output) * inputs[0][-1]
    if operator == "Gemm":  # the first input is (M, K) or its transpose, the output (M, N)
        return math.prod(inputs[0]) * output[-1]
    if operator in WITHOUT_MACS:
        return 0
    raise KeyError(operator)


def graph_macs(path: Path) -> int | None:
    """The multiply-accumulates of all convolutions and matrix products of an ONNX file.

    None where the file leaves a shape open (a dynamic file), or states none.

    Raises InputError if it is no ONNX file.
    """
    graph = read_graph(path)
    shapes = {**graph.initializer_shapes, **graph.shapes}
    total = 0
    for node in graph.nodes:
        names = [name for name in (*node.inputs, *node.outputs[:1]) if name]
        if node.op_type in SAME_SHAPE and len(names) > 1 and names[0] in shapes:
            shapes.setdefault(names[-1], shapes[names[0]])
        if node.op_type not in CONVOLUTION_WEIGHTS and node.op_type not in PRODUCTS:
            continue
        if len(names) < 3 or any(name not in shapes for name in names):
            return None
        try:
            total += macs_of(node.op_type, [shapes[n] for n in names[:-1]], shapes[names[-1]])
        except IndexError:  # a node that lacks inputs, or one of their dimensions
            return None
    return total
