"""The named networks, one row each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from refinenet.backbones.resnet import Backbone, MobileNetV2, ResNet, TwoScale
from refinenet.networks.blocks import CONV_POOL, POOL_CONV, PUBLISHED_POOLING, Pooling
from refinenet.networks.refinenet import (
    LightWeightRefineNet,
    LightWeightRefineNetMobile,
    RefineNet,
    SingleRefineNet,
    TwoCascadedRefineNet,
    TwoScaleRefineNet,
)
from runtime.errors import InputError

RESNET_50, RESNET_101, RESNET_152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)


@dataclass(frozen=True)
class Variant:
    """A network and the backbone it is built on."""

    network: Callable[[Backbone, int, Pooling], nn.Module]
    backbone: Callable[[], Backbone]


VARIANTS = MappingProxyType(
    {
        "refinenet-50": Variant(RefineNet, lambda: ResNet(RESNET_50)),
        "refinenet-101": Variant(RefineNet, lambda: ResNet(RESNET_101)),
        "refinenet-152": Variant(RefineNet, lambda: ResNet(RESNET_152)),
        "refinenet-101-single": Variant(SingleRefineNet, lambda: ResNet(RESNET_101)),
        "refinenet-101-2-cascaded": Variant(TwoCascadedRefineNet, lambda: ResNet(RESNET_101)),
        "refinenet-101-2-scale": Variant(
            TwoScaleRefineNet, lambda: TwoScale(ResNet(RESNET_101), ResNet(RESNET_101))
        ),
        "lw-50": Variant(LightWeightRefineNet, lambda: ResNet(RESNET_50)),
        "lw-101": Variant(LightWeightRefineNet, lambda: ResNet(RESNET_101)),
        "lw-152": Variant(LightWeightRefineNet, lambda: ResNet(RESNET_152)),
        "lw-mobilenetv2": Variant(LightWeightRefineNetMobile, MobileNetV2),
    }
)


def create_model(variant: str, num_classes: int) -> nn.Module:
    """Build an untrained network by name.

    variant: a key of VARIANTS, and where the chained residual pooling is not 4 links of pool-conv,
    its order and links after a plus sign: refinenet-101+conv-pool, lw-50+pool-conv-2.
    num_classes: 1 to 256 (a mask holds one byte per pixel).

    Returns a module in training mode: (N, 3, H, W) float32, normalized RGB, to class scores
    (N, num_classes, ceil(H/4), ceil(W/4)).

    Raises InputError for an unknown variant or a class count out of range.
    """
    row, pooling = split_variant(variant)
    if not 1 <= num_classes <= 256:
        raise InputError(
            f"{num_classes} classes; expected 1 to 256, since a mask holds one byte per pixel"
        )
    return VARIANTS[row].network(VARIANTS[row].backbone(), num_classes, pooling)


def split_variant(variant: str) -> tuple[str, Pooling]:
    """A variant's key in VARIANTS and its pooling; InputError if it has none."""
    row, plus, suffix = variant.partition("+")
    pooling = re.fullmatch(rf"({POOL_CONV}|{CONV_POOL})(?:-([1-9]\d?))?", suffix)
    if row not in VARIANTS:
        raise InputError(f"unknown variant '{variant}'; expected one of: {', '.join(VARIANTS)}")
    if not plus:
        return row, PUBLISHED_POOLING
    if pooling is None:
        raise InputError(
            f"unknown pooling '{suffix}' in '{variant}'; expected {POOL_CONV} or {CONV_POOL}, and "
            f"the number of links unless it is 4: {row}+{CONV_POOL}-2"
        )
    return row, Pooling(pooling[1], int(pooling[2] or Pooling.links))


def join_variant(row: str, pooling: Pooling) -> str:
    """The name by which split_variant finds this row and this pooling."""
    if pooling == PUBLISHED_POOLING:
        return row
    links = "" if pooling.links == Pooling.links else f"-{pooling.links}"
    return f"{row}+{pooling.order}{links}"
