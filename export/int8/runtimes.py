"""The runtimes that the scales of INT8 weights can suit. Without onnx, for the command line."""

from __future__ import annotations

from refinenet.activation_ranges import Ranges
from runtime.errors import InputError

RUNTIMES = ("rtx", "tensorrt")
DEFAULT_RUNTIME = "rtx"  # whose engines are the default
LEARNED = "learned"  # the method of ranges that quantization-aware training leaves


def int8_runtime(asked: str | None, saved: Ranges | None) -> str:
    """The runtime to make INT8 weights for: the one asked for, or the default.

    saved: the ranges that INT8 takes; None where they are measured on images.

    Quantization-aware training rounds weights with one scale per output channel, and what was
    learned so is exported so.

    Raises InputError if that is not what was asked for.
    """
    if saved is None or saved.method != LEARNED:
        return asked or DEFAULT_RUNTIME
    if asked == "rtx":
        raise InputError(
            "these weights learned their rounding with one scale per output channel, which is "
            "--int8-for tensorrt; leave --int8-for out, or measure ranges: --calibration IMAGES"
        )
    return "tensorrt"
