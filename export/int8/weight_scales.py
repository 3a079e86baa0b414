"""How many scales the INT8 weights of a layer have, by the runtime that the file is made for.

TensorRT fuses a convolution with what follows it whatever its weights' scales are (Working with
Quantized Types). TensorRT-RTX 1.7 does so with one scale alone: with one per output channel its
plans show convolutions that write float32, and scale, bias, ReLU and sum in kernels of their own.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from runtime.errors import InputError

INT8_MAX = 127
SMALLEST_SCALE = 2.0**-24  # FP16's smallest number above zero

# Above this error one scale would cost a layer too much. The 49 layers of the shipped weights have
# 0.083 at most, and lose nothing to speak of (benchmarks/results/int8-scales.json).
LARGEST_ERROR = 0.1


def error_of_one_scale(weights: NDArray[np.floating]) -> float:
    """What rounding with one scale for the whole layer costs: the root mean square, over the output
    channels, of a channel's error relative to its weights.

    weights: (out, in / groups, height, width). Every channel counts alike, since what follows may
    scale a small one up. A channel of zeros has no error.
    """
    scale = step_size(np.abs(weights).max())
    rounded = np.rint(weights / scale) * scale
    errors = np.square(rounded - weights).sum(axis=(1, 2, 3), dtype=np.float64)
    sizes = np.square(weights).sum(axis=(1, 2, 3), dtype=np.float64)
    return float(np.sqrt(np.mean(errors / np.where(sizes > 0, sizes, 1))))


def reason_for_many_scales(weights: NDArray[np.floating]) -> str | None:
    """Why a layer keeps a scale for each output channel even for RTX; None where one is enough.

    weights: (out, in / groups, height, width).
    """
    error = error_of_one_scale(weights)
    if error <= LARGEST_ERROR:
        return None
    return f"one scale would cost its channels {error:.2f} of their weights; {LARGEST_ERROR} may be"


def weight_pair(graph: onnx.GraphProto, weight: onnx.TensorProto, int8_for: str) -> onnx.NodeProto:
    """Put INT8 integers, scale and zero point in the place of a weight; returns the node that turns
    them back.

    int8_for: one of RUNTIMES in runtimes.py. For TensorRT every layer has a scale for each output
    channel, which loses less.
    """
    values = numpy_helper.to_array(weight)  # (out, in, height, width)
    many = int8_for != "rtx" or reason_for_many_scales(values) is not None
    scale = step_size(np.abs(values).max(axis=(1, 2, 3) if many else None))  # (out,) or ()
    steps = np.rint(values / (scale[:, None, None, None] if many else scale))
    integers = np.clip(steps, -INT8_MAX, INT8_MAX).astype(np.int8)
    name = weight.name
    graph.initializer.remove(weight)
    for content, ending in (
        (integers, "int8"),
        (scale, "scale"),
        (np.zeros(scale.shape, np.int8), "zero_point"),
    ):
        graph.initializer.append(numpy_helper.from_array(content, f"{name}_{ending}"))
    return helper.make_node(
        "DequantizeLinear",
        [f"{name}_int8", f"{name}_scale", f"{name}_zero_point"],
        [f"{name}_dequantized"],
        f"{name}_dequantize",
        **({"axis": 0} if many else {}),
    )


def step_size(limit: NDArray[np.floating]) -> NDArray[np.float32]:
    """The step size, as FP16 stores it, rounded up: rounded down, the largest value would be
    clipped, by several steps where FP16 is subnormal."""
    scale = np.maximum(np.asarray(limit, np.float32) / INT8_MAX, SMALLEST_SCALE)
    with np.errstate(over="ignore"):
        nearest = scale.astype(np.float16)
        above = np.nextafter(nearest, np.float16(np.inf))
    rounded = np.asarray(np.where(nearest < scale, above, nearest), np.float32)
    if not np.isfinite(rounded).all():
        raise InputError(
            f"a range of {np.max(limit):g} needs steps beyond FP16's largest number; "
            "leave int8 out, or train with weight decay"
        )
    return rounded
