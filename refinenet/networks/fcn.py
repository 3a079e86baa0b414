"""Fully convolutional networks: class scores of several features, each added to the coarser ones.

FCN is the published network on VGG16. SkipFCN is its idea on any backbone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refinenet.backbones.backbone import Backbone
from refinenet.network import SegmentationNetwork


class Skip(NamedTuple):
    """A finer feature whose scores are added.

    feature: its place among the backbone's. crop: the row and column of its scores at which those
    from fc7 begin, which come from an unpadded 7x7 convolution. factor: what it is multiplied by.
    """

    feature: int
    crop: int
    factor: float = 1.0


class FCNPlan(NamedTuple):
    """skips: coarsest first. stride: of the last upsampling, to the padded image. crop: the row and
    column of its result at which the image begins."""

    skips: tuple[Skip, ...]
    stride: int
    crop: int


# Long et al., CVPR 2015; the crops follow from the padding of 100 and the 7x7 convolution.
FCN_32S = FCNPlan((), stride=32, crop=19)
FCN_16S = FCNPlan((Skip(1, crop=5),), stride=16, crop=27)
FCN_8S = FCNPlan((Skip(1, crop=5), Skip(0, crop=9)), stride=8, crop=31)
# Shelhamer et al., PAMI 2017: all skips trained at once need features of the size of fc7's.
FCN_8S_AT_ONCE = FCNPlan((Skip(1, 5, factor=1e-2), Skip(0, 9, factor=1e-4)), stride=8, crop=31)


class FCN(SegmentationNetwork):
    """FCN on VGG16: (N, 3, H, W) to (N, C, H, W), through learned upsampling."""

    output_stride = 1

    def __init__(self, backbone: Backbone, plan: FCNPlan, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.plan = plan
        *finer, coarsest = backbone.feature_channels
        channels = [coarsest, *(finer[skip.feature] for skip in plan.skips)]
        self.scores = nn.ModuleList(nn.Conv2d(given, num_classes, 1) for given in channels)
        strides = [*(2 for _ in plan.skips), plan.stride]
        self.upsamplings = nn.ModuleList(_upsampling(num_classes, stride) for stride in strides)

    @property
    def pretrained_backbones(self) -> tuple[Backbone, ...]:
        return self.backbone.pretrained

    @property
    def classifiers(self) -> tuple[str, ...]:
        """The upsamplings too: they go from classes to classes."""
        return (
            *(f"scores.{index}" for index in range(len(self.scores))),
            *(f"upsamplings.{index}" for index in range(len(self.upsamplings))),
        )

    def forward(self, image: Tensor) -> Tensor:
        *finer, coarsest = self.backbone(image)
        total: Tensor = self.scores[0](coarsest)
        for index, skip in enumerate(self.plan.skips):
            total = self.upsamplings[index](total)
            feature = finer[skip.feature]
            if skip.factor != 1:
                feature = feature * skip.factor
            scores = self.scores[index + 1](feature)
            total = total + _cut(scores, skip.crop, total)
        return _cut(self.upsamplings[-1](total), self.plan.crop, image)


def _cut(x: Tensor, start: int, like: Tensor) -> Tensor:
    """Of (N, C, ·, ·), as many rows and columns as the other has, from that place on."""
    height, width = like.shape[-2:]
    return x[:, :, start : start + height, start : start + width]


def _upsampling(num_classes: int, stride: int) -> nn.ConvTranspose2d:
    """A transposed convolution that interpolates bilinearly before it is trained."""
    upsampling = nn.ConvTranspose2d(num_classes, num_classes, 2 * stride, stride, bias=False)
    with torch.no_grad():
        upsampling.weight.copy_(bilinear_kernel(num_classes, stride))
    return upsampling


def bilinear_kernel(num_classes: int, stride: int) -> Tensor:
    """The weight of a transposed convolution that interpolates each class alone.

    Returns (num_classes, num_classes, 2 * stride, 2 * stride) float32.
    """
    distance = (torch.arange(2 * stride) - (stride - 0.5)).abs() / stride
    line = 1 - distance
    return torch.eye(num_classes)[:, :, None, None] * torch.outer(line, line)


class SkipFCN(SegmentationNetwork):
    """FCN-8s on any backbone: scores of its features, each upsampled to the next finer ones and
    added. (N, 3, H, W) to (N, C, h, w) at the stride of the finest.

    The image has no border of 100 pixels, and the upsampling is bilinear and not learned.
    """

    def __init__(self, backbone: Backbone, output_stride: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.output_stride = output_stride
        self.scores = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 1) for channels in reversed(backbone.feature_channels)
        )

    @property
    def pretrained_backbones(self) -> tuple[Backbone, ...]:
        return self.backbone.pretrained

    @property
    def classifiers(self) -> tuple[str, ...]:
        return tuple(f"scores.{index}" for index in range(len(self.scores)))

    def forward(self, image: Tensor) -> Tensor:
        coarsest, *finer = reversed(self.backbone(image))
        total: Tensor = self.scores[0](coarsest)
        for score, feature in zip(list(self.scores)[1:], finer, strict=True):
            scores = score(feature)
            total = scores + F.interpolate(total, scores.shape[-2:], mode="bilinear")
        return total
