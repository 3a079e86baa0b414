"""The image classifiers that RefineNet refines: ResNet and MobileNetV2.

A backbone returns its features, finest first, at strides 4, 8, 16 and 32; MobileNetV2 is tapped
twice at the two coarse ones. Odd sizes round up.

Batch norm keeps its ImageNet statistics throughout: batches of crops are too small to estimate
better ones, and the published weights were trained so.
"""

from __future__ import annotations

from typing import NamedTuple, Self, TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

Features = tuple[Tensor, ...]


class Backbone(nn.Module):
    """A feature extractor whose batch norm statistics stay frozen, in training mode too.

    feature_channels: the channels of every feature, finest first.
    """

    feature_channels: tuple[int, ...]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, image: Tensor) -> Features:
        raise NotImplementedError


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a shortcut; the stride is on the 3x3 (He et al. 2016; torchvision)."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample.append(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + self.downsample(x))
        return out


class ResNet(Backbone):
    """ResNet-50, -101 or -152, with torchvision's parameter names.

    blocks: the number of bottlenecks in each of the four stages.
    """

    feature_channels = (256, 512, 1024, 2048)

    def __init__(self, blocks: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _resnet_stage(64, 64, blocks[0], stride=1)
        self.layer2 = _resnet_stage(256, 128, blocks[1], stride=2)
        self.layer3 = _resnet_stage(512, 256, blocks[2], stride=2)
        self.layer4 = _resnet_stage(1024, 512, blocks[3], stride=2)

    def forward(self, image: Tensor) -> Features:
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        x4 = self.layer1(x)  # (N, 256, H/4, W/4)
        x8 = self.layer2(x4)  # (N, 512, H/8, W/8)
        x16 = self.layer3(x8)  # (N, 1024, H/16, W/16)
        x32 = self.layer4(x16)  # (N, 2048, H/32, W/32)
        return x4, x8, x16, x32


def _resnet_stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    out_channels = channels * Bottleneck.expansion
    first = Bottleneck(in_channels, channels, stride)
    return nn.Sequential(first, *(Bottleneck(out_channels, channels, 1) for _ in range(blocks - 1)))


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, 1x1 linear projection (Sandler et al. 2018)."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        channels = in_channels * expansion
        self.shortcut = stride == 1 and in_channels == out_channels
        self.expand = _conv_bn(in_channels, channels, 1, relu6=True)
        self.depthwise = _conv_bn(channels, channels, 3, stride, groups=channels, relu6=True)
        self.project = _conv_bn(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class Stage(NamedTuple):
    """One row of table 2 of the MobileNetV2 paper (t, c, n, s)."""

    expansion: int
    channels: int
    blocks: int
    stride: int


class MobileNetV2(Backbone):
    """MobileNetV2 1.0 up to its 320-channel features, tapped six times.

    As in the published Light-Weight RefineNet, the first block has an expansion convolution (32 to
    32) that torchvision's lacks; checkpoints.py fills it with the identity for ImageNet weights.
    """

    stage_table = (
        Stage(1, 16, 1, 1),
        Stage(6, 24, 2, 2),
        Stage(6, 32, 3, 2),
        Stage(6, 64, 4, 2),
        Stage(6, 96, 3, 1),
        Stage(6, 160, 3, 2),
        Stage(6, 320, 1, 1),
    )
    feature_channels = (24, 32, 96, 64, 320, 160)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_bn(3, 32, 3, stride=2, relu6=True)
        self.stages = nn.ModuleList()
        channels = 32
        for stage in self.stage_table:
            self.stages.append(_mobilenet_stage(channels, stage))
            channels = stage.channels

    def forward(self, image: Tensor) -> Features:
        x = self.stem(image)
        taps = []
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        _, x4, x8, x16a, x16b, x32a, x32b = taps
        return x4, x8, x16b, x16a, x32b, x32a


class TwoScale(Backbone):
    """Two backbones of one kind with weights of their own, on the image at 1.2 and at 0.6 of its
    size (Lin et al., CVPR 2017, "4-cascaded RefineNet with 2-scale ResNet").

    The features of both lie side by side, level by level, that of the larger image first.
    """

    def __init__(self, large: Backbone, small: Backbone) -> None:
        super().__init__()
        self.large = large
        self.small = small
        self.feature_channels = _interleaved(large.feature_channels, small.feature_channels)

    def forward(self, image: Tensor) -> Features:
        return _interleaved(self.large(_resized(image, 12)), self.small(_resized(image, 6)))


_T = TypeVar("_T")


def _interleaved(large: tuple[_T, ...], small: tuple[_T, ...]) -> tuple[_T, ...]:
    return tuple(entry for pair in zip(large, small, strict=True) for entry in pair)


def _resized(image: Tensor, tenths: int) -> Tensor:
    """The image at so many tenths of its size, rounded up: whole numbers, for the exporter."""
    size = [(tenths * side + 9) // 10 for side in image.shape[-2:]]
    return F.interpolate(image, size, mode="bilinear")


def _mobilenet_stage(in_channels: int, stage: Stage) -> nn.Sequential:
    first = InvertedResidual(in_channels, stage.channels, stage.expansion, stage.stride)
    rest = (
        InvertedResidual(stage.channels, stage.channels, stage.expansion, 1)
        for _ in range(stage.blocks - 1)
    )
    return nn.Sequential(first, *rest)


def _conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    relu6: bool = False,
) -> nn.Sequential:
    padding = kernel_size // 2
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
        ),
        nn.BatchNorm2d(out_channels),
    ]
    if relu6:
        layers.append(nn.ReLU6())
    return nn.Sequential(*layers)
