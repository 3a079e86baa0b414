"""Where Q/DQ pairs stand, by TensorRT's rules for explicit quantization, and where they do not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

import onnx

from refinenet.int8_layers import reason_for_fp16
from runtime.card import CARD_KEY

NO_CONSTANT = "its weights are not constant"
CLASSIFIERS = "classifiers"  # in a card's details: the names of their weights in the graph


class SkipConnection(NamedTuple):
    """A sum of an INT8 convolution and of a shortcut around it.

    sum, convolution: the names of their outputs. shortcut: the tensor, at this place of the sum's
    inputs, on which a pair stands for `readers`, the INT8 convolutions (outputs) that read it.
    """

    sum: str
    place: int
    shortcut: str
    convolution: str
    readers: tuple[str, ...]


def reasons_for_fp16(model: onnx.ModelProto) -> dict[str, str]:
    """The convolutions that the rule leaves in FP16, by the name of their weights, and why.

    The card in the file names the classifiers; in a file without that, of a network of the user's,
    the last convolution is taken for it.
    """
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    classifiers = _classifiers(model) or {node.input[1] for node in convolutions[-1:]}
    reasons = {}
    for node in convolutions:
        weight = node.input[1]
        if weight not in shapes:
            reasons[weight] = NO_CONSTANT
            continue
        groups = next((a.i for a in node.attribute if a.name == "group"), 1)
        # A weight is (out, in / groups, height, width).
        if reason := reason_for_fp16(
            shapes[weight][1], grouped=groups > 1, classifier=weight in classifiers
        ):
            reasons[weight] = reason
    return reasons


def _classifiers(model: onnx.ModelProto) -> set[str]:
    cards = [entry.value for entry in model.metadata_props if entry.key == CARD_KEY]
    details = json.loads(cards[0]).get("details", {}) if cards else {}
    return set(details.get(CLASSIFIERS, ()))


def skip_connections(
    model: onnx.ModelProto, layers: Collection[onnx.NodeProto]
) -> list[SkipConnection]:
    """The sums whose shortcut is quantized with these convolutions.

    Both must hold: one input is such a convolution that nothing else reads, so that sum and
    convolution become one kernel; the other is the input of such convolutions, so that it has a
    pair already. Other sums stay FP16: pairs of their own would round once more for no fusion.
    """
    chosen = {layer.output[0] for layer in layers}
    uses = Counter(name for node in model.graph.node for name in node.input)
    uses.update(output.name for output in model.graph.output)
    readers: dict[str, tuple[str, ...]] = {}
    skips = []
    for node in model.graph.node:
        if node.op_type == "Conv" and node.output[0] in chosen:
            readers[node.input[0]] = (*readers.get(node.input[0], ()), node.output[0])
        if node.op_type != "Add":
            continue
        for index, (shortcut, sum_of) in enumerate((tuple(node.input), tuple(node.input)[::-1])):
            if sum_of in chosen and uses[sum_of] == 1 and shortcut in readers:
                skips.append(
                    SkipConnection(node.output[0], index, shortcut, sum_of, readers[shortcut])
                )
                break
    return skips
