"""Activation ranges for INT8, as data: measured by export, or learned by training, kept as JSON.

A range is keyed by the name of the convolution's weight (network.blocks.0.pool.convs.1.weight):
that name is the network's own and stays the same at every size and in every export.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from runtime.errors import InputError
from runtime.files import small_file, written_whole


class ConvolutionPeaks(NamedTuple):
    """The largest magnitudes met at a convolution: in its input, in its output, and in any of the
    partial sums on the way there."""

    input: float
    output: float
    sums: float


@dataclass(frozen=True)
class Ranges:
    """Symmetric ranges: an activation lies in [-limit, limit].

    limits: by the name of the convolution's weight. method: max, percentile-P, entropy, mse or
    learned. images: the folder that they were measured on, by name. image_count and images_sha256:
    which of its images (the hash of the images' hashes, in order). image_names: their paths in
    that folder. peaks: what FP16 must hold, by the same names, where it was measured.
    """

    method: str
    images: str
    image_count: int
    images_sha256: str
    limits: Mapping[str, float]
    image_names: tuple[str, ...] = ()
    peaks: Mapping[str, ConvolutionPeaks] = field(default_factory=dict)


def save_ranges(ranges: Ranges, path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(asdict(ranges), indent=1) + "\n", encoding="utf-8")


def load_ranges(path: Path) -> Ranges:
    """Ranges from their JSON file; InputError if it holds anything else."""
    try:
        content = json.loads(small_file(path))
        ranges = Ranges(
            **content
            | {
                "limits": {k: _magnitude(v, k) for k, v in content["limits"].items()},
                "image_names": tuple(str(name) for name in content.get("image_names", ())),
                "peaks": {
                    name: ConvolutionPeaks(*(_magnitude(value, name) for value in values))
                    for name, values in content.get("peaks", {}).items()
                },
            }
        )
        _check_types(ranges)
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError(
            f"{path} holds no activation ranges ({error}); collect them anew"
        ) from error
    return ranges


def _check_types(ranges: Ranges) -> None:
    for name, kind in (("method", str), ("images", str), ("image_count", int)):
        if type(getattr(ranges, name)) is not kind:
            raise TypeError(f"{name} is no {kind.__name__}")
    if ranges.image_count < 0:
        raise ValueError(f"image_count is {ranges.image_count}")


def _magnitude(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"the range of {name} is {value}")
    return float(value)


def shipped_ranges(weights: Path) -> Path:
    """Where ranges lie that ship with weights: NAME.ranges.json beside NAME.safetensors."""
    return weights.with_name(f"{weights.stem}.ranges.json")
