"""The named networks, one row each: a row owns all that is known of a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import torch

from refinenet.backbones.backbone import Backbone
from refinenet.backbones.mobilenetv2 import LAST_OF_EACH_STRIDE, MobileNetV2
from refinenet.backbones.resnet import (
    CLASSIFIER,
    DILATED,
    DILATED_MSRA,
    RESNET_50,
    RESNET_101,
    RESNET_152,
    Form,
    ResNet,
)
from refinenet.backbones.two_scale import TwoScale
from refinenet.backbones.vgg16 import VGG16
from refinenet.checkpoints.published_keys import deeplab, fcn, refinenet, torchvision, unet
from refinenet.checkpoints.published_keys.key_table import KeyTable
from refinenet.network import SegmentationNetwork
from refinenet.networks.blocks import CONV_POOL, POOL_CONV, PUBLISHED_POOLING, Pooling
from refinenet.networks.deeplab import SCALES, DeepLab
from refinenet.networks.dilated_fcn import DilatedFCN
from refinenet.networks.fcn import (
    FCN,
    FCN_8S,
    FCN_8S_AT_ONCE,
    FCN_16S,
    FCN_32S,
    FCNPlan,
    SkipFCN,
)
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
from refinenet.networks.unet import BackboneUNet, UNet
from runtime.errors import InputError
from runtime.normalization import IMAGENET, Normalization


@dataclass(frozen=True)
class Variant:
    """build: makes the untrained network of so many classes, with that chained residual pooling,
    which only the rows marked chained_pooling have.
    recipe: the preset of its paper, of refinenet.training.recipes.recipe.PRESETS.
    published: the key tables of its published checkpoints.
    normalization: what those checkpoints, and new trainings, feed it.
    """

    build: Callable[[int, Pooling], SegmentationNetwork]
    recipe: str
    published: tuple[KeyTable, ...] = ()
    normalization: Normalization = IMAGENET
    chained_pooling: bool = False


def _refinenet(
    backbone: Callable[[], Backbone], plan: CascadePlan, *published: KeyTable
) -> Variant:
    network = TwoScaleRefineNet if plan is TWO_SCALE else RefineNet
    return Variant(
        lambda num_classes, pooling: network(backbone(), plan, num_classes, pooling),
        recipe="light-weight" if plan.light else "refinenet-paper",
        published=published,
        chained_pooling=True,
    )


def _fcn(plan: FCNPlan, *published: KeyTable) -> Variant:
    return Variant(
        lambda num_classes, _: FCN(VGG16(), plan, num_classes),
        recipe="fcn",
        published=published,
        normalization=fcn.WKENTARO_LEVELS,
    )


def _dilated_fcn(backbone: Callable[[], Backbone]) -> Variant:
    return Variant(
        lambda num_classes, _: DilatedFCN(backbone(), num_classes),
        recipe="torchvision-fcn",
        published=(torchvision.FCN,),
    )


def _unet(bilinear: bool) -> Variant:
    return Variant(
        lambda num_classes, _: UNet(num_classes, bilinear=bilinear),
        recipe="unet",
        published=(unet.UNET,),
        normalization=unet.MILESIAL_LEVELS,
    )


def _deeplab(scales: tuple[float, ...], *published: KeyTable) -> Variant:
    backbone = _resnet(RESNET_101, DILATED_MSRA)
    return Variant(
        lambda num_classes, _: DeepLab(backbone(), 8, num_classes, scales),
        recipe="deeplab-v2",
        published=published,
        normalization=deeplab.KAZUTO1011_LEVELS,
    )


def _mobile(build: Callable[[int], SegmentationNetwork]) -> Variant:
    """On one backbone and by one recipe, for like with like; nobody has published these."""
    return Variant(lambda num_classes, _: build(num_classes), recipe="camvid-mobilenet")


def _resnet(blocks: tuple[int, int, int, int], form: Form = CLASSIFIER) -> Callable[[], Backbone]:
    return lambda: ResNet(blocks, form)


def _two_resnets_101() -> Backbone:
    return TwoScale(ResNet(RESNET_101), ResNet(RESNET_101))


def _deeplab_mobile(output_stride: int) -> Variant:
    last = LAST_OF_EACH_STRIDE[-1:]
    return _mobile(
        lambda classes: DeepLab(MobileNetV2(last, output_stride), output_stride, classes)
    )


_FULL, _LIGHT = refinenet.REFINENET, refinenet.LIGHT_WEIGHT
VARIANTS = MappingProxyType(
    {
        "refinenet-50": _refinenet(_resnet(RESNET_50), FOUR_CASCADED, _FULL),
        "refinenet-101": _refinenet(_resnet(RESNET_101), FOUR_CASCADED, _FULL),
        "refinenet-152": _refinenet(_resnet(RESNET_152), FOUR_CASCADED, _FULL),
        "refinenet-101-single": _refinenet(_resnet(RESNET_101), SINGLE),
        "refinenet-101-2-cascaded": _refinenet(_resnet(RESNET_101), TWO_CASCADED),
        "refinenet-101-2-scale": _refinenet(_two_resnets_101, TWO_SCALE),
        "lw-50": _refinenet(_resnet(RESNET_50), LIGHT_WEIGHT, _LIGHT),
        "lw-101": _refinenet(_resnet(RESNET_101), LIGHT_WEIGHT, _LIGHT),
        "lw-152": _refinenet(_resnet(RESNET_152), LIGHT_WEIGHT, _LIGHT),
        "lw-mobilenetv2": _refinenet(
            MobileNetV2, LIGHT_WEIGHT_MOBILE, refinenet.LIGHT_WEIGHT_MOBILE
        ),
        "fcn-32s": _fcn(FCN_32S, fcn.FCN_32S),
        "fcn-16s": _fcn(FCN_16S, fcn.FCN_16S),
        "fcn-8s": _fcn(FCN_8S, fcn.FCN_8S, fcn.CRFASRNN),
        "fcn-8s-at-once": _fcn(FCN_8S_AT_ONCE, fcn.FCN_8S),
        "fcn-50": _dilated_fcn(_resnet(RESNET_50, DILATED)),
        "fcn-101": _dilated_fcn(_resnet(RESNET_101, DILATED)),
        "unet": _unet(bilinear=False),
        "unet-bilinear": _unet(bilinear=True),
        "deeplab-v2-101": _deeplab((1.0,), deeplab.ONE_SCALE),
        "deeplab-v2-101-msc": _deeplab(SCALES, deeplab.THREE_SCALES),
        "fcn-mobilenetv2": _mobile(
            lambda classes: SkipFCN(MobileNetV2(LAST_OF_EACH_STRIDE[2:]), 8, classes)
        ),
        "unet-mobilenetv2": _mobile(
            lambda classes: BackboneUNet(MobileNetV2(LAST_OF_EACH_STRIDE), 2, classes)
        ),
        "deeplab-mobilenetv2-os32": _deeplab_mobile(32),
        "deeplab-mobilenetv2-os16": _deeplab_mobile(16),
        "deeplab-mobilenetv2-os8": _deeplab_mobile(8),
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
    if not VARIANTS[row].chained_pooling:
        raise InputError(
            f"'{variant}': {row} has no chained residual pooling; give --variant {row} alone"
        )
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
