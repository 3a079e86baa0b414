"""The named networks, one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from refinenet.backbones import Backbone, MobileNetV2, ResNet
from refinenet.networks import LightWeightRefineNet, LightWeightRefineNetMobile, RefineNet
from runtime.errors import InputError

RESNET_50, RESNET_101, RESNET_152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)


@dataclass(frozen=True)
class Variant:
    """A network and the backbone it is built on."""

    network: Callable[[Backbone, int], nn.Module]
    backbone: Callable[[], Backbone]


VARIANTS = MappingProxyType(
    {
        "refinenet-50": Variant(RefineNet, lambda: ResNet(RESNET_50)),
        "refinenet-101": Variant(RefineNet, lambda: ResNet(RESNET_101)),
        "refinenet-152": Variant(RefineNet, lambda: ResNet(RESNET_152)),
        "lw-50": Variant(LightWeightRefineNet, lambda: ResNet(RESNET_50)),
        "lw-101": Variant(LightWeightRefineNet, lambda: ResNet(RESNET_101)),
        "lw-152": Variant(LightWeightRefineNet, lambda: ResNet(RESNET_152)),
        "lw-mobilenetv2": Variant(LightWeightRefineNetMobile, MobileNetV2),
    }
)


def create_model(variant: str, num_classes: int) -> nn.Module:
    """Build an untrained network by name.

    variant: a key of VARIANTS.
    num_classes: 1 to 256 (a mask holds one byte per pixel).

    Returns a module in training mode: (N, 3, H, W) float32, normalized RGB, to class scores
    (N, num_classes, ceil(H/4), ceil(W/4)).

    Raises InputError for an unknown variant or a class count out of range.
    """
    if variant not in VARIANTS:
        raise InputError(f"unknown variant '{variant}'; expected one of: {', '.join(VARIANTS)}")
    if not 1 <= num_classes <= 256:
        raise InputError(
            f"{num_classes} classes; expected 1 to 256, since a mask holds one byte per pixel"
        )
    row = VARIANTS[variant]
    return row.network(row.backbone(), num_classes)
