"""A graph cut into layers, each a small session of its own.

A layer is what lies between known tensors: one node, or several where the graph has tensors that
the other side of a comparison lacks, such as a Q/DQ pair or the casts around an FP32 node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.frame_model import INPUT
from export.onnx_file import float_tensors
from runtime.frames import Frame

Values = NDArray[Any]
Offer = Callable[[str, Values], None]  # of a tensor, by name


class Layer:
    """Computes one tensor out of others.

    target: the tensor. inputs: those it is made from. operators: of the nodes between, in order.
    """

    def __init__(self, part: onnx.ModelProto) -> None:
        self.target: str = part.graph.output[0].name
        self.inputs = [value.name for value in part.graph.input]
        self.operators = tuple(node.op_type for node in part.graph.node)
        self._session = _session(part)

    def __call__(self, tensors: Mapping[str, Values]) -> Values:
        feeds = {name: tensors[name] for name in self.inputs}
        result: Values = self._session.run([self.target], feeds)[0]
        return result


class OnnxReference:
    """Runs a graph layer by layer and offers its tensors as they come.

    tensors: the names of those that it offers.
    """

    def __init__(self, model: onnx.ModelProto, target: str) -> None:
        self._layers = cut(model, float_tensors(model), target)
        self.tensors = {layer.target for layer in self._layers}

    def __call__(self, frames: Frame, offer: Offer) -> None:
        """Offer every tensor once, in the order of the computation."""
        waiting = Counter(name for layer in self._layers for name in layer.inputs)
        tensors: dict[str, Values] = {INPUT: frames}
        offer(INPUT, frames)
        for layer in self._layers:
            tensors[layer.target] = layer(tensors)
            offer(layer.target, tensors[layer.target])
            waiting.subtract(layer.inputs)
            for name in [name for name in tensors if not waiting[name]]:
                del tensors[name]


def cut(model: onnx.ModelProto, known: Iterable[str], target: str) -> list[Layer]:
    """The graph up to the tensor `target` as layers between known tensors, in the graph's order.

    model: float32 throughout, frames aside (see fp16_emulation).
    """
    cuts = {INPUT, target, *known}
    producers = {name: node for node in model.graph.node for name in node.output}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    layers: dict[str, onnx.ModelProto] = {}
    waiting = [target]
    while waiting:
        tensor = waiting.pop()
        if tensor == INPUT or tensor in layers:
            continue
        nodes, inputs = _between(tensor, cuts, producers, constants.keys())
        layers[tensor] = _part(model, nodes, inputs, tensor, constants)
        waiting += inputs
    order = (name for node in model.graph.node for name in node.output)
    return [Layer(layers[name]) for name in order if name in layers]


def _between(
    target: str,
    cuts: set[str],
    producers: Mapping[str, onnx.NodeProto],
    constants: Iterable[str],
) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes that make `target` out of cut tensors and constants, in an order in which they
    can run, and the cut tensors."""
    nodes: dict[str, onnx.NodeProto] = {}
    inputs: dict[str, None] = {}

    def visit(tensor: str) -> None:
        node = producers[tensor]
        for name in filter(None, node.input):
            if name in cuts:
                inputs[name] = None
            elif name not in constants and name not in nodes:
                visit(name)
        nodes.update(dict.fromkeys(node.output, node))

    visit(target)
    return list({id(node): node for node in nodes.values()}.values()), list(inputs)


def _part(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[str],
    target: str,
    constants: Mapping[str, onnx.TensorProto],
) -> onnx.ModelProto:
    read = dict.fromkeys(name for node in nodes for name in node.input)
    types = {name: TensorProto.UINT8 if name == INPUT else TensorProto.FLOAT for name in inputs}
    graph = helper.make_graph(
        nodes,
        target,
        [helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()],
        [onnx.ValueInfoProto(name=target)],
        [constants[name] for name in read if name in constants],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _session(part: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # A session per layer: with threads of their own, hundreds would spin for work.
    options.intra_op_num_threads = 1
    # Nothing to fuse within a layer, and a Cast to FP16 and back must stay.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        part.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
