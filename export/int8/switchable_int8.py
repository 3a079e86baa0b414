"""A graph in which every convolution is switched between FP32 and INT8 from outside, so that one
session tries any choice of layers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.int8.calibration import run_on, session_with_outputs
from export.int8.placement import SkipConnection
from export.int8.runtimes import DEFAULT_RUNTIME
from export.to_int8 import check_ranges, convolutions, quantize
from export.verify.agreement import Output
from export.verify.stages import scores_tensor
from refinenet.activation_ranges import Ranges
from refinenet.int8_layers import DEPTHWISE
from runtime.frames import Frame

SWITCHES = "int8_layers"


class SwitchableInt8:
    """The FP32 graph with a switch per convolution.

    layers: the names of the switchable weights, in the graph's order.

    What is not switched to INT8 computes in FP32; Q/DQ pairs are those that to_int8 writes.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        layers: Sequence[str],
        ranges: Ranges,
        int8_for: str = DEFAULT_RUNTIME,
    ) -> None:
        self.layers = tuple(layers)
        self._index = {name: index for index, name in enumerate(layers)}
        scores = scores_tensor(model)
        self._session = session_with_outputs(_switchable(model, layers, ranges, int8_for), [scores])

    def __call__(self, frames: Frame, int8: Collection[str]) -> Output:
        """What the network makes of the first of the frames, (N, H, W, 3) uint8, with these layers
        in INT8."""
        switches: NDArray[np.bool_] = np.zeros(len(self.layers), np.bool_)
        switches[[self._index[name] for name in int8]] = True
        (scores,) = run_on(self._session, None, frames, "an image", {SWITCHES: switches})
        return Output(scores[0].argmax(0).astype(np.uint8), scores[0])


def switchable_layers(reasons: dict[str, str], model: onnx.ModelProto) -> list[str]:
    """The convolutions that INT8 could serve: all but those that no tensor core computes."""
    unfit = {name for name, reason in reasons.items() if reason == DEPTHWISE}
    constants = {tensor.name for tensor in model.graph.initializer}
    names = dict.fromkeys(layer.input[1] for layer in convolutions(model))
    return [name for name in names if name in constants and name not in unfit]


def _switchable(
    model: onnx.ModelProto, layers: Sequence[str], ranges: Ranges, int8_for: str
) -> onnx.ModelProto:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    wanted = {name: index for index, name in enumerate(layers)}
    chosen = [layer for layer in convolutions(probe) if layer.input[1] in wanted]
    check_ranges(chosen, ranges)
    places = {layer.output[0]: wanted[layer.input[1]] for layer in chosen}
    originals = {layer.output[0]: list(layer.input[:2]) for layer in chosen}
    weights = [t for t in model.graph.initializer if t.name in wanted]
    skips = {skip.sum: skip for skip in quantize(probe, chosen, ranges, int8_for)}
    probe.graph.initializer.extend(weights)
    probe.graph.input.append(
        helper.make_tensor_value_info(SWITCHES, TensorProto.BOOL, [len(layers)])
    )
    nodes = [node for index in range(len(layers)) for node in _switch(probe.graph, index)]
    pairs = {
        node.output[0]: node
        for node in probe.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    for node in probe.graph.node:
        if (place := places.get(node.output[0])) is not None:
            for index, original in enumerate(originals[node.output[0]]):
                nodes.append(_choice(node, index, original, f"switch_{place}", pairs))
        elif skip := skips.get(node.output[0]):
            nodes += _skip_switch(skip, places)
            nodes.append(_choice(node, skip.place, skip.shortcut, f"{skip.sum}_switch", pairs))
        if node.output[0] not in pairs:
            nodes.append(node)
    del probe.graph.node[:]
    probe.graph.node.extend(nodes)
    return probe


def _switch(graph: onnx.GraphProto, index: int) -> tuple[onnx.NodeProto]:
    place = f"switch_place_{index}"
    graph.initializer.append(numpy_helper.from_array(np.array(index), place))
    return (helper.make_node("Gather", [SWITCHES, place], [f"switch_{index}"]),)


def _choice(
    node: onnx.NodeProto, index: int, original: str, switch: str, pairs: dict[str, onnx.NodeProto]
) -> onnx.NodeProto:
    """Let an input of a node come through its Q/DQ pair, or past it: only what is asked for is
    computed, so that a run with one INT8 layer costs little more than one without."""
    name = f"{node.output[0]}_choice_{index}"
    back = pairs[node.input[index]]
    # An activation is quantized and dequantized, a weight is dequantized alone.
    quantized = [pairs[back.input[0]], back] if back.input[0] in pairs else [back]
    node.input[index] = name
    return helper.make_node(
        "If",
        [switch],
        [name],
        then_branch=_branch(quantized),
        else_branch=_branch([helper.make_node("Identity", [original], [f"{name}_as_it_is"])]),
    )


def _branch(nodes: Sequence[onnx.NodeProto]) -> onnx.GraphProto:
    result = helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)
    return helper.make_graph(nodes, "branch", [], [result])


def _skip_switch(skip: SkipConnection, places: dict[str, int]) -> list[onnx.NodeProto]:
    """The shortcut is quantized if its convolution is, and one of those that share its pair."""
    any_reader = f"switch_{places[skip.readers[0]]}"
    nodes = []
    for count, reader in enumerate(skip.readers[1:]):
        result = f"{skip.sum}_reader_{count}"
        nodes.append(helper.make_node("Or", [any_reader, f"switch_{places[reader]}"], [result]))
        any_reader = result
    convolution = f"switch_{places[skip.convolution]}"
    nodes.append(helper.make_node("And", [convolution, any_reader], [f"{skip.sum}_switch"]))
    return nodes
