"""What a stage feeds the network, against the transform that the network was trained with."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import onnx
from numpy.typing import NDArray

from runtime.card import Card
from runtime.normalization import IMAGENET

Image = NDArray[np.float32]  # (3, H, W), normalized

# In normalized units, of which a grey level is about 0.017. FP16 rounds up to a tenth of that.
INPUT_LIMITS = MappingProxyType({"fp32": 1e-4, "fp16": 5e-3, "bf16": 4e-2, "int8": 5e-3})
IMAGENET_STD = sum(IMAGENET.std) / 3
RESIDUE = 0.1  # of the difference, up to which a simple cause explains it


def input_limit(precision: str, card: Card) -> float:
    """INPUT_LIMITS are for ImageNet's deviations: by others, as many grey levels are allowed.

    A network that is fed levels of 0 to 255 less their mean has a grey level of 1, not of 0.017.
    """
    return INPUT_LIMITS[precision] * IMAGENET_STD / (sum(card.std) / 3)


def network_input(model: onnx.ModelProto) -> str | None:
    """The tensor that an exported graph feeds its network: FrameModel's product with `scale`.

    None for a graph that has no such product.
    """
    for node in model.graph.node:
        if not {"scale", "scale_fp32"}.isdisjoint(node.input):  # the second where it is kept FP32
            name: str = node.output[0]
            return name
    return None


def cause_of_difference(expected: Image, found: Image, card: Card) -> str:
    """In words, what was done otherwise on the way to `found`."""
    difference = _rms(found - expected)
    mean, std = (np.array(values)[:, None, None] for values in (card.mean, card.std))
    # Swapped before they were normalized.
    if _rms((found * std + mean)[::-1] - (expected * std + mean)) < RESIDUE * difference:
        return "red and blue are swapped"
    fits = [np.polyfit(e.ravel(), f.ravel(), 1) for e, f in zip(expected, found, strict=True)]
    gains, offsets = (np.array(values)[:, None, None] for values in zip(*fits, strict=True))
    if _rms(gains * expected + offsets - found) < RESIDUE * difference and (gains > 0).all():
        other_std = std / gains
        other_mean = mean - other_std * offsets
        return f"as if normalized with mean {_triple(other_mean)} and std {_triple(other_std)}"
    return "neither the channel order nor mean and std explain it"


def _rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def _triple(values: NDArray[np.floating]) -> str:
    # Plus zero, so that no -0.000 is shown.
    return ", ".join(f"{value:.3f}" for value in np.round(values.ravel(), 3) + 0.0)
