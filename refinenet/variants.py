"""The named networks, one row each: a row owns all that is known of a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import torch

from refinenet.backbones.backbone import Backbone
from refinenet.backbones.mobilenetv2 import MobileNetV2
from refinenet.backbones.resnet import RESNET_50, RESNET_101, RESNET_152, ResNet
from refinenet.backbones.two_scale import TwoScale
from refinenet.checkpoints import published_keys
from refinenet.network import SegmentationNetwork
from refinenet.networks.blocks import CONV_POOL, POOL_CONV, PUBLISHED_POOLING, Pooling
from refinenet.networks.refinenet import (
    FOUR_CASCADED,
    LIGHT_WEIGHT,
    LIGHT_WEIGHT_MOBILE,
    SINGLE,
    TWO_CASCADED,
    TWO_SCALE,
    CascadePlan,
    RefineNet,
    TwoScaleRefineNet,
)
from refinenet.renaming import Rename
from runtime.errors import InputError
from runtime.normalization import IMAGENET, Normalization


@dataclass(frozen=True)
class Variant:
    """build: makes the untrained network of so many classes, with that chained residual pooling.
    recipe: the preset of its paper, of refinenet.training.recipe.PRESETS.
    published: the key tables of its published checkpoints.
    normalization: what those checkpoints, and new trainings, feed it.
    """

    build: Callable[[int, Pooling], SegmentationNetwork]
    recipe: str
    published: tuple[Rename, ...] = ()
    normalization: Normalization = IMAGENET


def _refinenet(backbone: Callable[[], Backbone], plan: CascadePlan, *published: Rename) -> Variant:
    network = TwoScaleRefineNet if plan is TWO_SCALE else RefineNet
    return Variant(
        lambda num_classes, pooling: network(backbone(), plan, num_classes, pooling),
        recipe="light-weight" if plan.light else "refinenet-paper",
        published=published,
    )


def _resnet_50() -> Backbone:
    return ResNet(RESNET_50)


def _resnet_101() -> Backbone:
    return ResNet(RESNET_101)


def _resnet_152() -> Backbone:
    return ResNet(RESNET_152)


def _two_resnets_101() -> Backbone:
    return TwoScale(_resnet_101(), _resnet_101())


_FULL, _LIGHT = published_keys.REFINENET, published_keys.LIGHT_WEIGHT
_MOBILE = published_keys.LIGHT_WEIGHT_MOBILE
VARIANTS = MappingProxyType(
    {
        "refinenet-50": _refinenet(_resnet_50, FOUR_CASCADED, _FULL),
        "refinenet-101": _refinenet(_resnet_101, FOUR_CASCADED, _FULL),
        "refinenet-152": _refinenet(_resnet_152, FOUR_CASCADED, _FULL),
        "refinenet-101-single": _refinenet(_resnet_101, SINGLE),
        "refinenet-101-2-cascaded": _refinenet(_resnet_101, TWO_CASCADED),
        "refinenet-101-2-scale": _refinenet(_two_resnets_101, TWO_SCALE),
        "lw-50": _refinenet(_resnet_50, LIGHT_WEIGHT, _LIGHT),
        "lw-101": _refinenet(_resnet_101, LIGHT_WEIGHT, _LIGHT),
        "lw-152": _refinenet(_resnet_152, LIGHT_WEIGHT, _LIGHT),
        "lw-mobilenetv2": _refinenet(MobileNetV2, LIGHT_WEIGHT_MOBILE, _MOBILE),
    }
)


def create_model(variant: str, num_classes: int) -> SegmentationNetwork:
    """Build an untrained network by name.

    variant: a key of VARIANTS, and where the chained residual pooling is not 4 links of pool-conv,
    its order and links after a plus sign: refinenet-101+conv-pool, lw-50+pool-conv-2.
    num_classes: 1 to 256 (a mask holds one byte per pixel).

    Returns a module in training mode: (N, 3, H, W) float32, normalized as the row says, to class
    scores (N, num_classes, h, w); of RefineNets, h is ceil(H/4) and w is ceil(W/4).

    Raises InputError for an unknown variant or a class count out of range.
    """
    row, pooling = split_variant(variant)
    if not 1 <= num_classes <= 256:
        raise InputError(
            f"{num_classes} classes; expected 1 to 256, since a mask holds one byte per pixel"
        )
    return VARIANTS[row].build(num_classes, pooling)


def normalization_of(variant: str) -> Normalization:
    """What the variant's published weights and new trainings feed it."""
    return VARIANTS[split_variant(variant)[0]].normalization


def score_size(variant: str, image_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the scores of an image, found by a run without values."""
    with torch.device("meta"):
        scores = create_model(variant, num_classes=1).eval()(torch.empty(1, 3, *image_size))
    return scores.shape[2], scores.shape[3]


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
