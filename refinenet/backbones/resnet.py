"""ResNet-50, -101 and -152, as classifiers have them or dilated to stride 8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from refinenet.backbones.backbone import Backbone, Features, ResidualBlock
from refinenet.renaming import Weights

RESNET_50, RESNET_101, RESNET_152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)


class Stage(NamedTuple):
    """One of the four stages. stride: of its first block. dilations: of the 3x3 convolutions of
    its first block and of all others."""

    stride: int
    dilations: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Form:
    """What ResNets of one depth differ in.

    stride_on_3x3: as in torchvision; else on the first 1x1, as in the authors' own (MSRA) weights.
    ceil_pool: whether the stem's pooling rounds the size up.
    """

    stages: tuple[Stage, Stage, Stage, Stage]
    stride_on_3x3: bool = True
    ceil_pool: bool = False


CLASSIFIER = Form((Stage(1), Stage(2), Stage(2), Stage(2)))
# torchvision's replace_stride_with_dilation: the first block of a stage has the dilation of the
# stage before it.
DILATED = Form((Stage(1), Stage(2), Stage(1, (1, 2)), Stage(1, (2, 4))))
# DeepLab-v2, on the authors' weights.
DILATED_MSRA = Form(
    (Stage(1), Stage(2), Stage(1, (2, 2)), Stage(1, (4, 4))), stride_on_3x3=False, ceil_pool=True
)


class Bottleneck(ResidualBlock):
    """1x1, 3x3, 1x1 with a shortcut (He et al. 2016).

    strides: of the first 1x1 and of the 3x3.
    """

    expansion = 4

    def __init__(
        self, in_channels: int, channels: int, strides: tuple[int, int], dilation: int
    ) -> None:
        super().__init__()
        out_channels, stride = channels * self.expansion, max(strides)
        self.conv1 = nn.Conv2d(in_channels, channels, 1, strides[0], bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(
            channels, channels, 3, strides[1], padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample.append(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(out_channels))

    @property
    def has_shortcut(self) -> bool:
        return True

    @property
    def readers(self) -> tuple[nn.Module, ...]:
        return (self.conv1, *(m for m in self.downsample if isinstance(m, nn.Conv2d)))

    @property
    def last(self) -> nn.Module:
        return self.conv3

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + self.downsample(x))
        return out


class ResNet(Backbone):
    """ResNet-50, -101 or -152, with torchvision's parameter names. Its features are at strides
    4, 8, 16 and 32, or, where it is dilated, at 4, 8, 8 and 8.

    blocks: the number of bottlenecks in each of the four stages.
    """

    feature_channels = (256, 512, 1024, 2048)

    def __init__(self, blocks: tuple[int, int, int, int], form: Form = CLASSIFIER) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=form.ceil_pool)
        self.layer1 = _resnet_stage(64, 64, blocks[0], form, form.stages[0])
        self.layer2 = _resnet_stage(256, 128, blocks[1], form, form.stages[1])
        self.layer3 = _resnet_stage(512, 256, blocks[2], form, form.stages[2])
        self.layer4 = _resnet_stage(1024, 512, blocks[3], form, form.stages[3])

    def imagenet_weights(self, classifier: Weights) -> Weights:
        return {key: value for key, value in classifier.items() if not key.startswith("fc.")}

    def forward(self, image: Tensor) -> Features:
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        x4 = self.layer1(x)  # (N, 256, H/4, W/4)
        x8 = self.layer2(x4)  # (N, 512, H/8, W/8)
        x16 = self.layer3(x8)  # (N, 1024, H/16, W/16); dilated: H/8, W/8
        x32 = self.layer4(x16)  # (N, 2048, H/32, W/32); dilated: H/8, W/8
        return x4, x8, x16, x32


def _resnet_stage(
    in_channels: int, channels: int, blocks: int, form: Form, stage: Stage
) -> nn.Sequential:
    strides = (1, stage.stride) if form.stride_on_3x3 else (stage.stride, 1)
    first, rest = stage.dilations
    return nn.Sequential(
        Bottleneck(in_channels, channels, strides, first),
        *(
            Bottleneck(channels * Bottleneck.expansion, channels, (1, 1), rest)
            for _ in range(blocks - 1)
        ),
    )
