"""ResNet-50, -101 and -152."""

from __future__ import annotations

from torch import Tensor, nn

from refinenet.backbones.backbone import Backbone, Features, ResidualBlock
from refinenet.renaming import Weights

RESNET_50, RESNET_101, RESNET_152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)


class Bottleneck(ResidualBlock):
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
    4, 8, 16 and 32.

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

    def imagenet_weights(self, classifier: Weights) -> Weights:
        return {key: value for key, value in classifier.items() if not key.startswith("fc.")}

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
