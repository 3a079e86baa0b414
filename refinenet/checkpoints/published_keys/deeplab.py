"""kazuto1011's deeplab-pytorch: DeepLab-v2 on ResNet-101, converted from the authors' weights.

Its layer1 is the stem, its blocks count from 1. Older files call the shortcut `proj` and put
`stages` into the pyramid.
"""

from __future__ import annotations

import re

from refinenet.checkpoints.published_keys.key_table import KeyTable
from refinenet.renaming import Rename
from runtime.normalization import Normalization

KAZUTO1011_LEVELS = Normalization(
    mean=(122.675 / 255, 116.669 / 255, 104.008 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    channel_order="BGR",
)

_CONVOLUTIONS = {"reduce": "1", "conv3x3": "2", "increase": "3"}


def _bottleneck(match: re.Match[str]) -> str:
    layer, block, part, kind, leaf = match.groups()
    place = f"backbone.layer{int(layer) - 1}.{int(block) - 1}"
    if part in _CONVOLUTIONS:
        return f"{place}.{kind}{_CONVOLUTIONS[part]}.{leaf}"
    return f"{place}.downsample.{0 if kind == 'conv' else 1}.{leaf}"


def _under(prefix: str) -> Rename:
    return (
        (rf"{prefix}layer1\.conv1\.(conv|bn)\.(.*)", r"backbone.\g<1>1.\2"),
        (
            rf"{prefix}layer([2-5])\.block(\d+)\."
            r"(reduce|conv3x3|increase|shortcut|proj)\.(conv|bn)\.(.*)",
            _bottleneck,
        ),
        (rf"{prefix}aspp\.(?:stages\.)?c([0-3])\.(.*)", r"aspp.\1.\2"),
    )


ONE_SCALE = KeyTable(_under(""))
THREE_SCALES = KeyTable(_under(r"(?:base|scale)\."))
