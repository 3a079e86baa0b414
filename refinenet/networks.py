"""The networks: a backbone, a cascade of RefineNet blocks from coarse to fine, and a classifier.

All take (N, 3, H, W) float RGB, normalized, of any size, and return class scores
(N, num_classes, ceil(H/4), ceil(W/4)).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from refinenet.backbones import Backbone
from refinenet.blocks import RefineNetBlock, ResidualConvUnit, conv


class CascadedRefineNet(nn.Module):
    """Each block refines the features of one level with what the coarser blocks saw.

    reductions and blocks run from the coarsest level to the finest. A block's paths are the
    features of its level and, last, the output of the block before it.
    """

    def __init__(
        self,
        backbone: Backbone,
        reductions: Sequence[nn.Module],
        blocks: Sequence[RefineNetBlock],
        classifier: nn.Module,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.reductions = nn.ModuleList(reductions)
        self.blocks = nn.ModuleList(blocks)
        self.classifier = classifier

    def forward(self, image: Tensor) -> Tensor:
        levels = reversed(self.backbone(image))
        coarser: tuple[Tensor, ...] = ()
        for reduce, block, features in zip(self.reductions, self.blocks, levels, strict=True):
            coarser = (block(*(reduce(feature) for feature in features), *coarser),)
        scores: Tensor = self.classifier(*coarser)
        return scores


class RefineNet(CascadedRefineNet):
    """The 4-cascaded RefineNet on a ResNet (Lin et al., CVPR 2017, figure 2c)."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        (c4,), (c8,), (c16,), (c32,) = backbone.level_channels
        super().__init__(
            backbone,
            reductions=[
                _reduction(c32, 512, kernel_size=3),
                _reduction(c16, 256, kernel_size=3),
                _reduction(c8, 256, kernel_size=3),
                _reduction(c4, 256, kernel_size=3),
            ],
            blocks=[
                RefineNetBlock([512], 512),
                RefineNetBlock([256, 512], 256),
                RefineNetBlock([256, 256], 256),
                RefineNetBlock([256, 256], 256),
            ],
            classifier=nn.Sequential(
                ResidualConvUnit(256),
                ResidualConvUnit(256),
                nn.Dropout(0.5),
                conv(256, num_classes, 3, bias=True),
            ),
        )


class LightWeightRefineNet(CascadedRefineNet):
    """Light-Weight RefineNet on a ResNet (Nekrasov et al., BMVC 2018): 1x1, and no RCUs."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        (c4,), (c8,), (c16,), (c32,) = backbone.level_channels
        super().__init__(
            backbone,
            reductions=[
                _reduction(c32, 512, kernel_size=1),
                _reduction(c16, 256, kernel_size=1),
                _reduction(c8, 256, kernel_size=1),
                _reduction(c4, 256, kernel_size=1),
            ],
            blocks=[
                RefineNetBlock([512], 512, kernel_size=1, residual_units=False),
                RefineNetBlock([256, 512], 256, kernel_size=1, residual_units=False),
                RefineNetBlock([256, 256], 256, kernel_size=1, residual_units=False),
                RefineNetBlock([256, 256], 256, kernel_size=1, residual_units=False),
            ],
            classifier=nn.Sequential(conv(256, num_classes, 3, bias=True)),
        )


class LightWeightRefineNetMobile(CascadedRefineNet):
    """Light-Weight RefineNet on MobileNetV2: every tap goes into the fusion as it is."""

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        taps4, taps8, taps16, taps32 = backbone.level_channels
        super().__init__(
            backbone,
            reductions=[nn.Identity() for _ in backbone.level_channels],
            blocks=[
                _mobile_block(taps)
                for taps in (taps32, (*taps16, 256), (*taps8, 256), (*taps4, 256))
            ],
            classifier=nn.Sequential(conv(256, num_classes, 3, bias=True)),
        )


def _reduction(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    # Dropout on the wide features only, as the published networks were trained.
    dropout = nn.Dropout(0.5) if in_channels > 512 else nn.Identity()
    return nn.Sequential(dropout, conv(in_channels, out_channels, kernel_size))


def _mobile_block(path_channels: Sequence[int]) -> RefineNetBlock:
    return RefineNetBlock(
        path_channels, 256, kernel_size=1, residual_units=False, activation=nn.ReLU6
    )
