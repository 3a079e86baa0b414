"""What a stage must reach to pass: the gates of verification, which benchmarks judge by too."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Gate:
    """What a stage must reach.

    pixels: the share of pixels equal to the stage before. miou_loss: in points, with labels.
    largest_error: of the scores, in standard deviations, trained or not. untrained_rms_error: of
    the scores, instead of the pixels, where the weights are untrained and their classes close.
    """

    pixels: float
    miou_loss: float
    largest_error: float = float("inf")
    untrained_rms_error: float = float("inf")


GATES = MappingProxyType(
    {
        "fp32": Gate(pixels=0.9999, miou_loss=0.1, largest_error=1e-4),
        "fp16": Gate(pixels=0.995, miou_loss=0.1, untrained_rms_error=1e-2),
        # bfloat16 keeps 8 bits where FP16 keeps 11.
        "bf16": Gate(pixels=0.995, miou_loss=0.1, untrained_rms_error=5e-2),
        "int8": Gate(pixels=0.98, miou_loss=1.0, untrained_rms_error=5e-2),
    }
)
