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

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, stride: int, dilation: int = 1
    ) -> None:
        super().__init__()
        channels = in_channels * expansion
        self._shortcut = stride == 1 and in_channels == out_channels
        self.expand = _conv_bn(in_channels, channels, 1, relu6=True)
        self.depthwise = _conv_bn(
            channels, channels, 3, stride, dilation, groups=channels, relu6=True
        )
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


# The stages whose features a network takes, finest first.
REFINENET_TAPS = (1, 2, 4, 3, 6, 5)  # two at stride 32, two at 16, one at 8 and one at 4
LAST_OF_EACH_STRIDE = (0, 1, 2, 4, 6)  # 2, 4, 8, 16, 32


class MobileNetV2(Backbone):
    """MobileNetV2 1.0 up to its 320-channel features.

    As in the published Light-Weight RefineNet, the first block has an expansion convolution (32 to
    32) that torchvision's lacks.

    taps: the stages whose features it gives, finest first.
    output_stride: at which the features stop shrinking, 32, 16 or 8. From there on, a stride is
    replaced by a dilation of all later convolutions (Chen et al. 2017, section 3.1).
    """

    def __init__(self, taps: tuple[int, ...] = REFINENET_TAPS, output_stride: int = 32) -> None:
        super().__init__()
        self.taps = taps
        self.feature_channels = tuple(STAGES[tap].channels for tap in taps)
        self.stem = _conv_bn(3, 32, 3, stride=2, relu6=True)
        self.stages = nn.ModuleList()
        channels, reached, dilation = 32, 2, 1
        for stage in STAGES:
            shrinks = reached * stage.stride <= output_stride
            stride = stage.stride if shrinks else 1
            # As in torchvision's ResNets, the first block has the dilation of the stage before it.
            later = dilation if shrinks else dilation * stage.stride
            self.stages.append(_mobilenet_stage(channels, stage, stride, (dilation, later)))
            channels, reached, dilation = stage.channels, reached * stride, later

    def imagenet_weights(self, classifier: Weights) -> Weights:
        """The expansion that torchvision's lacks becomes the identity: exact, since its input
        already passed a ReLU6."""
        ours = renamed(classifier, TORCHVISION)
        beyond = ("classifier.", "features.")  # the head, and the layers after the last tap
        kept = {key: value for key, value in ours.items() if not key.startswith(beyond)}
        return {**_identity_expansion(), **kept}

    def forward(self, image: Tensor) -> Features:
        x = self.stem(image)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return tuple(features[tap] for tap in self.taps)


def _mobilenet_stage(
    in_channels: int, stage: Stage, stride: int, dilations: tuple[int, int]
) -> nn.Sequential:
    first, rest = dilations
    channels, expansion = stage.channels, stage.expansion
    return nn.Sequential(
        InvertedResidual(in_channels, channels, expansion, stride, first),
        *(
            InvertedResidual(channels, channels, expansion, 1, rest)
            for _ in range(stage.blocks - 1)
        ),
    )


def _conv_bn(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    dilation: int = 1,
    *,
    groups: int = 1,
    relu6: bool = False,
) -> nn.Sequential:
    padding = kernel_size // 2 * dilation
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups=groups,
            bias=False,
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
