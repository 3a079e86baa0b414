"""Two backbones that look at one image at two sizes."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor
from torch.nn import functional as F

from refinenet.backbones.backbone import Backbone, Features


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

    @property
    def pretrained(self) -> tuple[Backbone, ...]:
        return (*self.large.pretrained, *self.small.pretrained)

    def forward(self, image: Tensor) -> Features:
        return _interleaved(self.large(_resized(image, 12)), self.small(_resized(image, 6)))


_T = TypeVar("_T")


def _interleaved(large: tuple[_T, ...], small: tuple[_T, ...]) -> tuple[_T, ...]:
    return tuple(entry for pair in zip(large, small, strict=True) for entry in pair)


def _resized(image: Tensor, tenths: int) -> Tensor:
    """The image at so many tenths of its size, rounded up: whole numbers, for the exporter."""
    size = [(tenths * side + 9) // 10 for side in image.shape[-2:]]
    return F.interpolate(image, size, mode="bilinear")
