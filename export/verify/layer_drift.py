"""Which layer of a stage drifts from the stage before it.

Every layer is computed twice. On the reference's inputs: what it then differs by is its own error,
whatever the layers before it did. On what the stage's own layers gave: that is the drift, gathered
up to here. A drift that grew over many layers thus accuses none of them, and one broken layer
stands out however small its part in the result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from torch import nn

from export.verify.layers import Layer, Offer, OnnxReference, Values, cut
from export.verify.preprocessing import network_input
from export.verify.stages import real_precision, scores_tensor
from export.verify.torch_layers import TorchReference
from runtime.card import read_card
from runtime.frames import Frame
from runtime.normalization import Normalization

# Up to these, a layer's own error is taken for ordinary rounding, which is largest where a
# convolution's terms cancel. They are chosen, not derived: the tests see that no layer of the
# shipped weights goes beyond on their photo, and that planted faults do.
ORDINARY = MappingProxyType({"fp32": 5e-5, "fp16": 0.1, "bf16": 0.25, "int8": 0.25})

Reference = Callable[[Frame, Offer], None]


@dataclass(frozen=True)
class LayerError:
    """One layer, compared with the stage before.

    name: of the convolution in the network, or of the operator and its tensor. operators: that the
    stage computes it with. own_error, drift: RMS difference over the reference's RMS; infinite
    where a value is not finite.
    """

    name: str
    operators: tuple[str, ...]
    own_error: float
    drift: float


@dataclass(frozen=True)
class LayerReport:
    """The layers of a stage in their order. limit: the most that is ordinary rounding."""

    stage: str
    against: str
    limit: float
    layers: tuple[LayerError, ...]

    @property
    def first(self) -> LayerError | None:
        """The first layer that adds more than rounding; None where the loss is spread over many."""
        return next((layer for layer in self.layers if not layer.own_error <= self.limit), None)

    def record(self) -> dict[str, Any]:
        """Ready for JSON: an error that is not finite becomes None."""
        content = asdict(self) | {"first": self.first.name if self.first else None}
        for layer in content["layers"]:
            for key in ("own_error", "drift"):
                layer[key] = layer[key] if np.isfinite(layer[key]) else None
        return content

    def largest(self, count: int) -> list[LayerError]:
        """The layers with the largest own errors, in the graph's order."""
        ranked = sorted(self.layers, key=lambda layer: -layer.own_error)[:count]
        return [layer for layer in self.layers if layer in ranked]


def against_pytorch(
    fp32: Path, network: nn.Module, normalization: Normalization, frames: Iterable[Frame]
) -> LayerReport:
    """The layers of an FP32 file against the network that it was exported from.

    frames: each (N, H, W, 3) uint8, as the file takes them.
    """
    model = real_precision(fp32)
    reference = TorchReference(network, normalization, model)
    layers = cut(model, reference.tensors, scores_tensor(model))
    sums = _compared(layers, reference, frames)
    return _report(("fp32", "pytorch"), layers, sums, _names(model))


def against_fp32(path: Path, fp32: Path, frames: Iterable[Frame]) -> LayerReport:
    """The layers of an FP16 or INT8 file against the FP32 file that it was made from."""
    model, before = real_precision(path), onnx.load(fp32)
    reference = OnnxReference(before, scores_tensor(before))
    layers = cut(model, reference.tensors, scores_tensor(before))
    sums = _compared(layers, reference, frames)
    return _report((read_card(path).precision, "fp32"), layers, sums, _names(before))


@dataclass
class _Sums:
    """Of squares over all values: the reference's, of the own error, of the drift."""

    reference: float = 0.0
    own: float = 0.0
    drift: float = 0.0

    def add(self, reference: Values, own: Values, drifted: Values) -> None:
        with np.errstate(invalid="ignore", over="ignore"):  # infinities are what is looked for
            self.reference += _sum_of_squares(reference)
            self.own += _sum_of_squares(own - reference)
            self.drift += _sum_of_squares(drifted - reference)


@dataclass
class _SideBySide:
    """One frame through reference and layers; a tensor is let go of once no layer needs it."""

    layers: dict[str, Layer]  # by target
    sums: dict[str, _Sums]
    waiting: Counter[str]
    right: dict[str, Values] = field(default_factory=dict)
    drifted: dict[str, Values] = field(default_factory=dict)

    def offer(self, name: str, value: Values) -> None:
        self.right[name] = self.drifted[name] = value
        inputs: list[str] = []
        if name in self.layers:
            layer, inputs = self.layers[name], self.layers[name].inputs
            self.drifted[name] = layer(self.drifted)
            self.sums[name].add(value, layer(self.right), self.drifted[name])
            self.waiting.subtract(inputs)
        for done in {name for name in (name, *inputs) if not self.waiting[name]}:
            del self.right[done], self.drifted[done]


def _compared(
    layers: Sequence[Layer], reference: Reference, frames: Iterable[Frame]
) -> dict[str, _Sums]:
    by_target = {layer.target: layer for layer in layers}
    sums = {target: _Sums() for target in by_target}
    for frame in frames:
        readers = Counter(name for layer in layers for name in layer.inputs)
        reference(frame, _SideBySide(by_target, sums, readers).offer)
    return sums


def _report(
    stages: tuple[str, str],
    layers: Sequence[Layer],
    sums: dict[str, _Sums],
    names: dict[str, str],
) -> LayerReport:
    errors = tuple(
        LayerError(
            names[layer.target],
            layer.operators,
            _ratio(sums[layer.target].own, sums[layer.target].reference),
            _ratio(sums[layer.target].drift, sums[layer.target].reference),
        )
        for layer in layers
    )
    return LayerReport(*stages, ORDINARY[stages[0]], errors)


def _names(model: onnx.ModelProto) -> dict[str, str]:
    """What to call a tensor's layer: a convolution by its weight, another by its operator."""
    names = {}
    weights = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        for tensor in node.output:
            names[tensor] = f"{node.op_type} {tensor}"
        if node.op_type == "Conv" and node.input[1] in weights:
            names[node.output[0]] = node.input[1].removeprefix("network.").removesuffix(".weight")
    if (fed := network_input(model)) is not None:
        names[fed] = "the network's input"
    return names


def _sum_of_squares(values: Values) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def _ratio(error: float, reference: float) -> float:
    if not np.isfinite(error) or not reference:
        return float("inf") if error else 0.0
    return float((error / reference) ** 0.5)
