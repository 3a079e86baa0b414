"""VGG16 as FCN uses it: all of the classifier but its last layer, as convolutions."""

from __future__ import annotations

import re

from torch import Tensor, nn
from torch.nn import functional as F

from refinenet.backbones.backbone import Backbone, Features
from refinenet.renaming import Rename, Weights, renamed

GROUPS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Without it, the 7x7 convolution of FCN, which has no padding, would get nothing of small images.
FCN_PADDING = 100


class VGG16(Backbone):
    """VGG16 (Simonyan & Zisserman, ICLR 2015) with the names of its Caffe model: conv1_1 to
    conv5_3, fc6 and fc7 (Long et al., CVPR 2015, section 4.1).

    Its features are pool3, (N, 256, ·, ·) at stride 8, pool4, (N, 512, ·, ·) at stride 16, and fc7,
    (N, 4096, ·, ·) at stride 32. The image is padded by 100 pixels on all sides, so that they show
    more than the image: FCN cuts its scores out.
    """

    feature_channels = (256, 512, 4096)

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for group, widths in enumerate(GROUPS, start=1):
            for index, width in enumerate(widths, start=1):
                padding = FCN_PADDING if channels == 3 else 1
                self.add_module(
                    f"conv{group}_{index}", nn.Conv2d(channels, width, 3, padding=padding)
                )
                channels = width
        self.fc6 = nn.Conv2d(channels, 4096, 7)
        self.fc7 = nn.Conv2d(4096, 4096, 1)
        self.dropout = nn.Dropout(0.5)

    def imagenet_weights(self, classifier: Weights) -> Weights:
        """The fully connected layers as convolutions; torchvision's last layer is left out."""
        ours = renamed(classifier, TORCHVISION)
        as_convolutions = {
            "fc6.weight": lambda matrix: matrix.unflatten(1, (512, 7, 7)),
            "fc7.weight": lambda matrix: matrix[:, :, None, None],
        }
        return {
            key: as_convolutions[key](value)
            if key in as_convolutions and value.ndim == 2
            else value
            for key, value in ours.items()
            if not key.startswith("classifier.6.")
        }

    def forward(self, image: Tensor) -> Features:
        x, pools = image, []
        for group, widths in enumerate(GROUPS, start=1):
            for index in range(1, len(widths) + 1):
                x = F.relu(self.get_submodule(f"conv{group}_{index}")(x))
            x = F.max_pool2d(x, 2, ceil_mode=True)
            pools.append(x)
        fc6 = self.dropout(F.relu(self.fc6(x)))
        fc7 = self.dropout(F.relu(self.fc7(fc6)))
        return pools[2], pools[3], fc7


def _torchvision_convolution(match: re.Match[str]) -> str:
    """features.I: torchvision counts convolutions, ReLUs and poolings in one row."""
    name = _CONVOLUTIONS.get(int(match[1]))
    return f"{name}.{match[2]}" if name else match[0]


def _torchvision_indices() -> dict[int, str]:
    names, position = {}, 0
    for group, widths in enumerate(GROUPS, start=1):
        for index in range(1, len(widths) + 1):
            names[position] = f"conv{group}_{index}"
            position += 2  # the convolution and its ReLU
        position += 1  # the pooling
    return names


_CONVOLUTIONS = _torchvision_indices()
TORCHVISION: Rename = (
    (r"features\.(\d+)\.(.*)", _torchvision_convolution),
    (r"classifier\.0\.(.*)", r"fc6.\1"),
    (r"classifier\.3\.(.*)", r"fc7.\1"),
)
