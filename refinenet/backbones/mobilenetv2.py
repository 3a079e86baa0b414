"""MobileNetV2 (Sandler et al., CVPR 2018)."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refinenet.backbones.backbone import Backbone, Features, ResidualBlock
from refinenet.renaming import Rename, Weights, renamed


class InvertedResidual(ResidualBlock):
    """1x1 expansion, 3x3 depthwise, 1x1 linear projection (Sandler et al. 2018)."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, stride: int) -> None:
        super().__init__()
        channels = in_channels * expansion
        self._shortcut = stride == 1 and in_channels == out_channels
        self.expand = _conv_bn(in_channels, channels, 1, relu6=True)
        self.depthwise = _conv_bn(channels, channels, 3, stride, groups=channels, relu6=True)
        self.project = _conv_bn(channels, out_channels, 1)

    @property
    def has_shortcut(self) -> bool:
        return self._shortcut

    @property
    def readers(self) -> tuple[nn.Module, ...]:
        return (self.expand[0],)

    @property
    def last(self) -> nn.Module:
        return self.project[0]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self._shortcut else y


class Stage(NamedTuple):
    """One row of table 2 of the MobileNetV2 paper (t, c, n, s)."""

    expansion: int
    channels: int
    blocks: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


class MobileNetV2(Backbone):
    """MobileNetV2 1.0 up to its 320-channel features, tapped six times.

    Two features at stride 32, two at 16, one at 8 and one at 4. As in the published Light-Weight
    RefineNet, the first block has an expansion convolution (32 to 32) that torchvision's lacks.
    """

    feature_channels = (24, 32, 96, 64, 320, 160)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv_bn(3, 32, 3, stride=2, relu6=True)
        self.stages = nn.ModuleList()
        channels = 32
        for stage in STAGES:
            self.stages.append(_mobilenet_stage(channels, stage))
            channels = stage.channels

    def imagenet_weights(self, classifier: Weights) -> Weights:
        """The expansion that torchvision's lacks becomes the identity: exact, since its input
        already passed a ReLU6."""
        ours = renamed(classifier, TORCHVISION)
        beyond = ("classifier.", "features.")  # the head, and the layers after the last tap
        kept = {key: value for key, value in ours.items() if not key.startswith(beyond)}
        return {**_identity_expansion(), **kept}

    def forward(self, image: Tensor) -> Features:
        x = self.stem(image)
        taps = []
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        _, x4, x8, x16a, x16b, x32a, x32b = taps
        return x4, x8, x16b, x16a, x32b, x32a


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


_PARTS = ("expand", "depthwise", "project")


def _torchvision_block(match: re.Match[str]) -> str:
    """features.I.conv.J: torchvision nests the convolutions before the last and not the last."""
    index, rest = int(match[1]) - 1, match[2]
    stage, block = _BLOCKS[index]
    parts = _PARTS[1:] if index == 0 else _PARTS
    position, leaf = rest.split(".", 1)
    last = len(parts) - 1
    if int(position) < last:
        part = f"{parts[int(position)]}.{leaf}"
    else:
        part = f"{parts[-1]}.{int(position) - last}.{leaf}"
    return f"stages.{stage}.{block}.{part}"


_BLOCKS = [(s, b) for s, row in enumerate(STAGES) for b in range(row.blocks)]

TORCHVISION: Rename = (
    (r"features\.0\.(.*)", r"stem.\1"),
    (r"features\.(1[0-7]|[1-9])\.conv\.(.*)", _torchvision_block),
)


def _identity_expansion() -> dict[str, Tensor]:
    key, channels = "stages.0.0.expand", 32
    eps = nn.BatchNorm2d(channels).eps
    return {
        f"{key}.0.weight": torch.eye(channels).reshape(channels, channels, 1, 1),
        f"{key}.1.weight": torch.full((channels,), (1 + eps) ** 0.5),
        f"{key}.1.bias": torch.zeros(channels),
        f"{key}.1.running_mean": torch.zeros(channels),
        f"{key}.1.running_var": torch.ones(channels),
    }
