"""DeepLab-v2 (Chen et al., PAMI 2017): a dilated backbone and atrous spatial pyramid pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refinenet.backbones.backbone import Backbone
from refinenet.network import SegmentationNetwork

RATES = (6, 12, 18, 24)  # ASPP-L of the paper
SCALES = (1.0, 0.75, 0.5)


class DeepLab(SegmentationNetwork):
    """The sum of four 3x3 convolutions from the features straight to the classes, which look at
    them through holes of different widths.

    output_stride: that of the backbone's features.
    scales: of the image, at which the one network runs; the largest score of all of them is taken
    (the paper's MSC).
    """

    def __init__(
        self,
        backbone: Backbone,
        output_stride: int,
        num_classes: int,
        scales: tuple[float, ...] = (1.0,),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.output_stride = output_stride
        self.scales = scales
        channels = backbone.feature_channels[-1]
        self.aspp = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=rate, dilation=rate) for rate in RATES
        )

    @property
    def pretrained_backbones(self) -> tuple[Backbone, ...]:
        return self.backbone.pretrained

    @property
    def classifiers(self) -> tuple[str, ...]:
        return tuple(f"aspp.{index}" for index in range(len(self.aspp)))

    def forward(self, image: Tensor) -> Tensor:
        largest = self._scores(image)
        for scale in self.scales[1:]:
            # By the scale itself and not by the sizes: the published scores were made so.
            smaller = F.interpolate(image, scale_factor=scale, mode="bilinear")
            scores = F.interpolate(self._scores(smaller), largest.shape[-2:], mode="bilinear")
            largest = torch.maximum(largest, scores)
        return largest

    def _scores(self, image: Tensor) -> Tensor:
        features = self.backbone(image)[-1]
        total: Tensor = self.aspp[0](features)
        for conv in list(self.aspp)[1:]:
            total = total + conv(features)
        return total
