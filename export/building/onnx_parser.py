"""An ONNX file to a TensorRT network, or the node that stands in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime import tensorrt_api
from runtime.errors import InputError
from runtime.onnx.graph import read_graph
from runtime.tensorrt_api import CollectingLogger, TensorRT

# The first release with ONNX 1.17's definitions, and so with opset 22 (onnx-tensorrt's changelog).
BF16_FLOOR = (10, 6)


def require_bf16(trt: TensorRT, onnx_path: Path) -> None:
    """InputError for a TensorRT whose parser lacks the opset of BF16 files."""
    numbers = [int(part) for part in trt.version.split(".")[:2]]
    if trt.name == "tensorrt" and tuple(numbers) < BF16_FLOOR:
        raise InputError(
            f"{onnx_path} is BF16, in opset 22, which TensorRT knows from "
            f"{'.'.join(map(str, BF16_FLOOR))} on; this is {trt.title}. Build the FP16 file"
        )


def parse(trt: TensorRT, logger: CollectingLogger, network: Any, onnx_path: Path) -> None:
    """Fill the network; InputError that names node, operator and shapes if TensorRT refuses."""
    parser = trt.module.OnnxParser(network, logger)
    # From the file, not from bytes: weights above 2 GB lie in another file beside it.
    if parser.parse_from_file(str(onnx_path)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    if not errors:
        found = tensorrt_api.reason(logger)
    else:
        error = errors[0]
        found = f"{_node(error, onnx_path, network)}: {_reason(error)}"
    raise InputError(f"{trt.title} cannot parse {onnx_path}: {found}")


def _node(error: Any, onnx_path: Path, network: Any) -> str:
    """node conv_7 (Conv of features (1, 256, 90, 120))."""
    graph = read_graph(onnx_path)
    index = error.node()
    if not 0 <= index < len(graph.nodes):
        return "the graph"
    node = graph.nodes[index]
    shapes = {**graph.initializer_shapes, **_shapes(network)}
    inputs = ", ".join(f"{name} {shapes.get(name, 'of unknown shape')}" for name in node.inputs)
    name = error.node_name() or node.name or f"number {index}"
    return f"node {name} ({error.node_operator() or node.op_type} of {inputs or 'nothing'})"


def _shapes(network: Any) -> dict[str, tuple[int, ...]]:
    """The shapes that TensorRT has worked out so far, -1 where a dimension is free."""
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        tensors += [layer.get_output(number) for number in range(layer.num_outputs)]
    shapes = {}
    for tensor in tensors:
        try:
            shapes[tensor.name] = tuple(tensor.shape)
        except RuntimeError:  # of a layer that cannot be: the one that failed
            continue
    return shapes


def _reason(error: Any) -> str:
    """TensorRT's words, on one line; for some operators they are only the condition that failed."""
    words = " ".join(str(error.desc()).split())
    if words in ("", "false"):
        return f"TensorRT does not support this operator ({error.file()}:{error.line()})"
    return words
