"""torchvision's FCN: a ResNet dilated to stride 8 and a small head, without skips."""

from __future__ import annotations

from torch import Tensor, nn

from refinenet.backbones.backbone import Backbone
from refinenet.network import SegmentationNetwork


class DilatedFCN(SegmentationNetwork):
    """(N, 3, H, W) to (N, C, ceil(H/8), ceil(W/8)).

    torchvision's auxiliary head, which serves its training alone, is left out.
    """

    output_stride = 8

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        channels = backbone.feature_channels[-1]
        self.classifier = nn.Sequential(
            nn.Conv2d(channels, channels // 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels // 4),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(channels // 4, num_classes, 1),
        )

    @property
    def pretrained_backbones(self) -> tuple[Backbone, ...]:
        return self.backbone.pretrained

    @property
    def classifiers(self) -> tuple[str, ...]:
        return ("classifier.4",)

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.backbone(image)[-1])
        return scores
