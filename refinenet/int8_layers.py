"""Which convolutions become INT8: one rule for the export and for quantization-aware training."""

from __future__ import annotations

MIN_INPUT_CHANNELS = 64

CLASSIFIER = "the classifier draws the class borders, and is small"
NARROW = "fewer than 64 input channels leave an INT8 tensor core half empty, and lose the most"
# TensorRT-RTX 1.7 unrolls them: a plan of 39.8 MB instead of 12.8 MB for LW-MobileNetV2.
DEPTHWISE = "depthwise: tensor cores do not serve it in INT8"


def reason_for_fp16(channels_per_group: int, *, grouped: bool, classifier: bool) -> str | None:
    """Why a convolution stays FP16, or None if it becomes INT8.

    channels_per_group: the input channels that each of its filters reads.
    classifier: its output channels are the classes.
    """
    if classifier:
        return CLASSIFIER
    if grouped and channels_per_group == 1:
        return DEPTHWISE
    return NARROW if channels_per_group < MIN_INPUT_CHANNELS else None
