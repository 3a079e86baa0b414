"""Which nodes FP16 cannot hold, judged by what they reach on real images.

A node stays FP32 if an input, an output or a constant of it, or a partial sum inside it, is beyond
FP16, or lies so low that FP16 rounds most of it away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tqdm import tqdm

from export.int8.calibration import frame_batch, run_on, session_with_outputs
from export.onnx_file import float_tensors, outline, values_of
from refinenet.activation_ranges import ConvolutionPeaks, Ranges
from runtime.card import Card, read_card
from runtime.errors import InputError
from runtime.files import existing_file

FP16_MAX = 65504.0
HEADROOM = 2.0  # for images that reach higher than the measured ones
SMALLEST_NORMAL = 2.0**-14  # a tensor that stays below keeps fewer than FP16's 11 bits
MAX_IMAGES = 16  # a maximum settles soon, and the graph runs once per image
SUMMING = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Peaks:
    """The largest magnitudes met. tensors: by the tensor's name. sums: the largest that a partial
    sum inside a node can have become, in whatever order it adds, by the name of its output.
    images: on how many images; 0 where nothing was measured."""

    tensors: Mapping[str, float]
    sums: Mapping[str, float]
    images: int


NOT_MEASURED = Peaks(MappingProxyType({}), MappingProxyType({}), 0)


def measure_peaks(fp32_path: Path, images: Sequence[Path], quiet: bool = False) -> Peaks:
    """Run an FP32 graph over at most MAX_IMAGES of the images, evenly spread.

    Every tensor is reduced to one number inside the graph, so that no activation is kept.
    """
    file = existing_file(fp32_path).resolve()  # ONNX Runtime follows no link out of a folder
    model, folder = outline(file), file.parent
    passes = _Passes(folder, read_card(fp32_path), images[:: -(-len(images) // MAX_IMAGES)], quiet)
    tensors = float_tensors(model)
    peaks = passes.largest(_with_peaks(model, tensors), tensors, "fp16 range")
    # A second pass for the few nodes whose weights could add up to too much.
    large = [node for node in model.graph.node if _could_overflow(model, node, peaks, folder)]
    names = [f"{node.output[0]}_magnitudes" for node in large]
    sums = passes.largest(_with_sums(model, large), names, "fp16 sums") if large else {}
    by_output = {name.removesuffix("_magnitudes"): peak for name, peak in sums.items()}
    return Peaks(peaks, by_output, len(passes.images))


def kept_in_fp32(model: onnx.ModelProto, peaks: Peaks) -> dict[str, str]:
    """The nodes that FP16 cannot hold, by the name of their first output, and why.

    Raises InputError if a constant is not a number.
    """
    constants = {t.name: _peak_of_constant(t) for t in model.graph.initializer}
    scales = {n.input[2] for n in model.graph.node if n.op_type == "Resize" and len(n.input) > 2}
    kept = {}
    for node in model.graph.node:
        reasons = [
            f"{role} {name} {fault}"
            for role, names in (("input", node.input), ("output", node.output))
            for name in names
            if name in peaks.tensors and (fault := _fault(peaks.tensors[name] * HEADROOM))
        ]
        reasons += [
            f"constant {name} {fault}"
            for name in node.input
            if name not in scales and (fault := _fault(constants.get(name, 0.0)))
        ]
        if (sums := peaks.sums.get(node.output[0], 0.0)) > FP16_MAX:
            reasons.append(f"partial sums can reach {sums:.3g}")
        if reasons:
            kept[node.output[0]] = "; ".join(reasons)
    return kept


def peaks_from_ranges(model: onnx.ModelProto, ranges: Ranges) -> Peaks:
    """What saved ranges know of a graph: its convolutions, found by the names of their weights."""
    tensors: dict[str, float] = {}
    sums: dict[str, float] = {}
    for node in model.graph.node:
        if node.op_type == "Conv" and (peaks := ranges.peaks.get(node.input[1])):
            tensors[node.input[0]], tensors[node.output[0]] = peaks.input, peaks.output
            sums[node.output[0]] = peaks.sums
    return Peaks(tensors, sums, ranges.image_count if tensors else 0)


def convolution_peaks(model: onnx.ModelProto, peaks: Peaks) -> dict[str, ConvolutionPeaks]:
    """The part of the peaks that can be kept by the names of weights."""
    return {
        node.input[1]: ConvolutionPeaks(
            peaks.tensors[node.input[0]],
            peaks.tensors[node.output[0]],
            peaks.sums.get(node.output[0], 0.0),
        )
        for node in model.graph.node
        if node.op_type == "Conv"
    }


def _fault(peak: float) -> str:
    """What FP16 does to a tensor with this peak; nothing if it holds it."""
    if peak > FP16_MAX:
        return f"reaches {peak:.3g}, and FP16 ends at {FP16_MAX:g}"
    if 0 < peak < SMALLEST_NORMAL:
        return f"stays below {peak:.3g}, where FP16 loses its digits"
    return ""


def _peak_of_constant(tensor: onnx.TensorProto) -> float:
    if tensor.data_type != TensorProto.FLOAT:
        return 0.0
    peak = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0))
    if not np.isfinite(peak):
        raise InputError(f"{tensor.name} reaches {peak:g}: no precision holds it; train anew")
    return peak


@dataclass(frozen=True)
class _Passes:
    """Over the images, through graphs whose weights lie in a file in the folder."""

    folder: Path
    card: Card
    images: Sequence[Path]
    quiet: bool

    def largest(self, probe: onnx.ModelProto, names: Sequence[str], title: str) -> dict[str, float]:
        """The largest of each tensor's peaks over the images, by the tensor's name."""
        outputs = [f"{name}_peak" for name in names]
        session = session_with_outputs(probe, outputs, self.folder)
        largest: NDArray[np.float32] = np.zeros(len(names), np.float32)
        for path in tqdm(self.images, desc=title, unit="image", disable=self.quiet or None):
            peaks = run_on(session, outputs, frame_batch(path, self.card), str(path))
            largest = np.maximum(largest, np.array(peaks))
        for name, peak in zip(names, largest, strict=True):
            if not np.isfinite(peak):
                raise InputError(
                    f"the activation {name} is not finite, in FP32 already; train anew"
                )
        return dict(zip(names, map(float, largest), strict=True))


def _with_peaks(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    # ONNX Runtime computes what comes last first, with all that it needs: in this order each tensor
    # is reduced as soon as it is there, in the other one all are kept until the end.
    for name in reversed(names):
        probe.graph.node.extend(_peak_nodes(name))
    return probe


def _peak_nodes(name: str) -> list[onnx.NodeProto]:
    """ONNX Runtime's ReduceMax passes over NaN, which thus counts as infinity."""
    absolute, is_nan, infinity, counted = (
        f"{name}_{part}" for part in ("abs", "is_nan", "infinity", "counted")
    )
    return [
        helper.make_node("Abs", [name], [absolute]),
        helper.make_node("IsNaN", [name], [is_nan]),
        helper.make_node("Constant", [], [infinity], value_float=np.inf),
        helper.make_node("Where", [is_nan, infinity, absolute], [counted]),
        helper.make_node("ReduceMax", [counted], [f"{name}_peak"], keepdims=0),
    ]


def _with_sums(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """Beside each node its twin on magnitudes: |x| with |w|, which no partial sum exceeds."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    for node in reversed(nodes):  # see _with_peaks
        twin = onnx.NodeProto()
        twin.CopyFrom(node)
        twin.name, twin.output[0] = "", f"{node.output[0]}_magnitudes"
        for index, name in enumerate(node.input):
            twin.input[index] = f"{twin.output[0]}_{index}"
            probe.graph.node.append(helper.make_node("Abs", [name], [twin.input[index]]))
        probe.graph.node.append(twin)
        probe.graph.node.extend(_peak_nodes(twin.output[0]))
    return probe


def _could_overflow(
    model: onnx.ModelProto, node: onnx.NodeProto, peaks: Mapping[str, float], folder: Path
) -> bool:
    """Whether the weights could add inputs of this size up to more than FP16 holds."""
    if node.op_type not in SUMMING or node.output[0] not in peaks:
        return False
    weight = next((t for t in model.graph.initializer if t.name == node.input[1]), None)
    if node.op_type != "Conv" or weight is None:
        return True
    norms = np.abs(values_of(weight, folder)).reshape(weight.dims[0], -1).sum(1)
    return float(norms.max()) * peaks.get(node.input[0], np.inf) > FP16_MAX
