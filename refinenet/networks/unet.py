"""U-Net (Ronneberger et al., MICCAI 2015), in its common form: padded, with batch norm.

UNet has an encoder of its own. BackboneUNet is its decoder on any backbone.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refinenet.backbones.backbone import Backbone
from refinenet.network import SegmentationNetwork

WIDTHS = (64, 128, 256, 512, 1024)  # of the levels, finest first
BACKBONE_WIDTHS = (32, 64, 128, 256)  # of BackboneUNet's levels: ours


def double_conv(in_channels: int, out_channels: int, middle: int | None = None) -> nn.Sequential:
    """Twice a 3x3 convolution, batch norm and ReLU."""
    middle = middle or out_channels
    return nn.Sequential(
        nn.Conv2d(in_channels, middle, 3, padding=1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        nn.Conv2d(middle, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class Up(nn.Module):
    """Twice the size, the encoder's features of that level beside it, two convolutions.

    forward takes (N, channels, h, w) and (N, skip_channels, H, W) and returns
    (N, out_channels, H, W), where H is 2 * h or differs from it by 1.
    """

    def __init__(
        self, channels: int, skip_channels: int, out_channels: int, *, bilinear: bool = False
    ) -> None:
        super().__init__()
        self.up: nn.Module
        if bilinear:
            # align_corners=True: the published weights were trained with it.
            self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            joined = channels + skip_channels
            self.convs = double_conv(joined, out_channels, middle=joined // 2)
        else:
            self.up = nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)
            self.convs = double_conv(channels // 2 + skip_channels, out_channels)

    def forward(self, coarser: Tensor, skip: Tensor) -> Tensor:
        upsampled = _at_size(self.up(coarser), skip)
        out: Tensor = self.convs(torch.cat((skip, upsampled), dim=1))
        return out


def _at_size(x: Tensor, like: Tensor) -> Tensor:
    """With a row and a column of zeros more, or of its own less, at the end, where sizes differ."""
    height, width = like.shape[-2:]
    # A size that an export leaves free is no int: it may differ, even if the example's does not.
    if type(height) is int and type(width) is int and x.shape[-2:] == like.shape[-2:]:
        return x
    return F.pad(x, (0, 1, 0, 1))[:, :, :height, :width]


class UNet(SegmentationNetwork):
    """(N, 3, H, W) to (N, C, H, W), H and W at least 16.

    bilinear: upsampling without weights, and half the channels in the decoder, in place of
    transposed convolutions.
    """

    output_stride = 1
    least = 16  # four poolings, which round down

    def __init__(self, num_classes: int, *, bilinear: bool = False) -> None:
        super().__init__()
        *finer, coarsest = WIDTHS
        encoder = (*finer, coarsest // 2) if bilinear else WIDTHS
        self.encoder = nn.ModuleList(
            double_conv(given, wanted) for given, wanted in pairwise((3, *encoder))
        )
        coarsest_first = tuple(reversed(encoder))
        # The coarser levels hand on what the next finer one has, and bilinear half of that.
        decoder = [width // 2 if bilinear else width for width in coarsest_first[1:-1]]
        decoder.append(WIDTHS[0])
        self.decoder = nn.ModuleList(
            Up(given, skip, wanted, bilinear=bilinear)
            for given, skip, wanted in zip(
                (coarsest_first[0], *decoder), coarsest_first[1:], decoder, strict=False
            )
        )
        self.classifier = nn.Conv2d(WIDTHS[0], num_classes, 1)

    @property
    def pretrained_backbones(self) -> tuple[Backbone, ...]:
        return ()

    @property
    def classifiers(self) -> tuple[str, ...]:
        return ("classifier",)

    def forward(self, image: Tensor) -> Tensor:
        x = self.encoder[0](image)
        skips = []
        for level in list(self.encoder)[1:]:
            skips.append(x)
            x = level(F.max_pool2d(x, 2))
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            x = up(x, skip)
        scores: Tensor = self.classifier(x)
        return scores


class BackboneUNet(SegmentationNetwork):
    """U-Net's decoder on a backbone's features: (N, 3, H, W) to the finest features' size.

    output_stride: of the finest features.
    """

    def __init__(self, backbone: Backbone, output_stride: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.output_stride = output_stride
        coarsest, *skips = reversed(backbone.feature_channels)
        widths = (coarsest, *reversed(BACKBONE_WIDTHS))
        self.decoder = nn.ModuleList(
            Up(given, skip, wanted)
            for (given, wanted), skip in zip(pairwise(widths), skips, strict=True)
        )
        self.classifier = nn.Conv2d(widths[-1], num_classes, 1)

    @property
    def pretrained_backbones(self) -> tuple[Backbone, ...]:
        return self.backbone.pretrained

    @property
    def classifiers(self) -> tuple[str, ...]:
        return ("classifier",)

    def forward(self, image: Tensor) -> Tensor:
        x, *skips = reversed(self.backbone(image))
        for up, skip in zip(self.decoder, skips, strict=True):
            x = up(x, skip)
        scores: Tensor = self.classifier(x)
        return scores
