"""The networks: a backbone, a cascade of RefineNet blocks from coarse to fine, and a classifier.

All take (N, 3, H, W) float RGB, normalized, of any size, and return class scores
(N, num_classes, ceil(H/4), ceil(W/4)).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from refinenet.backbones.resnet import Backbone
from refinenet.networks.blocks import (
    PUBLISHED_POOLING,
    Pooling,
    RefineNetBlock,
    ResidualConvUnit,
    conv,
)


class CascadedRefineNet(nn.Module):
    """Each block refines some features of the backbone with what the coarser blocks saw.

    reductions, one per feature, and blocks run from the coarsest level to the finest. A block's
    paths are the next features, finest first, and last the output of the block before it.
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
        # All blocks but the first have one path more: the block before.
        self.features_per_block = [len(b.adapt) - (i > 0) for i, b in enumerate(blocks)]

    def forward(self, image: Tensor) -> Tensor:
        coarsest_first = zip(self.reductions, reversed(self.backbone(image)), strict=True)
        features = [reduce(feature) for reduce, feature in coarsest_first]
        coarser: tuple[Tensor, ...] = ()
        for block, count in zip(self.blocks, self.features_per_block, strict=True):
            own, features = features[:count], features[count:]
            coarser = (block(*reversed(own), *coarser),)
        scores: Tensor = self.classifier(*coarser)
        return scores


class RefineNet(CascadedRefineNet):
    """The 4-cascaded RefineNet on a ResNet (Lin et al., CVPR 2017, figure 2c)."""

    def __init__(
        self, backbone: Backbone, num_classes: int, pooling: Pooling = PUBLISHED_POOLING
    ) -> None:
        super().__init__(
            backbone,
            reductions=_reductions(backbone.feature_channels, (512, 256, 256, 256)),
            blocks=[
                RefineNetBlock([512], 512, pooling=pooling),
                RefineNetBlock([256, 512], 256, pooling=pooling),
                RefineNetBlock([256, 256], 256, pooling=pooling),
                RefineNetBlock([256, 256], 256, pooling=pooling),
            ],
            classifier=_refined_classifier(num_classes),
        )


class TwoCascadedRefineNet(CascadedRefineNet):
    """The 2-cascaded RefineNet of the paper's comparison of variants: one block for levels 3 and
    4 of a ResNet, one for levels 1 and 2 and what the first made.

    The paper tells which levels go where; the channels follow the rule of the authors' code, which
    fuses to the fewest channels among a block's paths.
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, pooling: Pooling = PUBLISHED_POOLING
    ) -> None:
        super().__init__(
            backbone,
            reductions=_reductions(backbone.feature_channels, (512, 256, 256, 256)),
            blocks=[
                RefineNetBlock([256, 512], 256, pooling=pooling),
                RefineNetBlock([256, 256, 256], 256, pooling=pooling),
            ],
            classifier=_refined_classifier(num_classes),
        )


class SingleRefineNet(CascadedRefineNet):
    """The single RefineNet of the paper's comparison of variants: one block that fuses all four
    levels of a ResNet at once. Its channels: see TwoCascadedRefineNet."""

    def __init__(
        self, backbone: Backbone, num_classes: int, pooling: Pooling = PUBLISHED_POOLING
    ) -> None:
        super().__init__(
            backbone,
            reductions=_reductions(backbone.feature_channels, (512, 256, 256, 256)),
            blocks=[RefineNetBlock([256, 256, 256, 512], 256, pooling=pooling)],
            classifier=_refined_classifier(num_classes),
        )


class TwoScaleRefineNet(CascadedRefineNet):
    """The 4-cascaded 2-scale RefineNet of the paper's comparison of variants.

    backbone: TwoScale, two ResNets. From the paper: their number and the scales 1.2 and 0.6. From
    the authors' training options: a block takes the same level of both. Ours: the image is resized
    bilinearly, and the scores, which lie at 1.2 of the usual size, are brought to the usual size.
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, pooling: Pooling = PUBLISHED_POOLING
    ) -> None:
        super().__init__(
            backbone,
            reductions=_reductions(
                backbone.feature_channels, (512, 512, 256, 256, 256, 256, 256, 256)
            ),
            blocks=[
                RefineNetBlock([512, 512], 512, pooling=pooling),
                RefineNetBlock([256, 256, 512], 256, pooling=pooling),
                RefineNetBlock([256, 256, 256], 256, pooling=pooling),
                RefineNetBlock([256, 256, 256], 256, pooling=pooling),
            ],
            classifier=_refined_classifier(num_classes),
        )

    def forward(self, image: Tensor) -> Tensor:
        size = [(side + 3) // 4 for side in image.shape[-2:]]
        return F.interpolate(super().forward(image), size, mode="bilinear")


class LightWeightRefineNet(CascadedRefineNet):
    """Light-Weight RefineNet on a ResNet (Nekrasov et al., BMVC 2018): 1x1, and no RCUs."""

    def __init__(
        self, backbone: Backbone, num_classes: int, pooling: Pooling = PUBLISHED_POOLING
    ) -> None:
        super().__init__(
            backbone,
            reductions=_reductions(backbone.feature_channels, (512, 256, 256, 256), kernel_size=1),
            blocks=[
                RefineNetBlock(
                    paths, channels, kernel_size=1, residual_units=False, pooling=pooling
                )
                for paths, channels in (
                    ([512], 512),
                    ([256, 512], 256),
                    ([256, 256], 256),
                    ([256, 256], 256),
                )
            ],
            classifier=nn.Sequential(conv(256, num_classes, 3, bias=True)),
        )


class LightWeightRefineNetMobile(CascadedRefineNet):
    """Light-Weight RefineNet on MobileNetV2: every feature goes into the fusion as it is."""

    def __init__(
        self, backbone: Backbone, num_classes: int, pooling: Pooling = PUBLISHED_POOLING
    ) -> None:
        c4, c8, c16b, c16a, c32b, c32a = backbone.feature_channels
        super().__init__(
            backbone,
            reductions=[nn.Identity() for _ in backbone.feature_channels],
            blocks=[
                RefineNetBlock(
                    paths,
                    256,
                    kernel_size=1,
                    residual_units=False,
                    pooling=pooling,
                    activation=nn.ReLU6,
                )
                for paths in ([c32b, c32a], [c16b, c16a, 256], [c8, 256], [c4, 256])
            ],
            classifier=nn.Sequential(conv(256, num_classes, 3, bias=True)),
        )


def _reductions(
    feature_channels: Sequence[int], path_channels: Sequence[int], kernel_size: int = 3
) -> list[nn.Module]:
    """Features, given finest first, to the channels of their paths, given coarsest first."""
    coarsest_first = reversed(feature_channels)
    return [
        nn.Sequential(
            # On the wide features only, as the published networks were trained.
            nn.Dropout(0.5) if given > 512 else nn.Identity(),
            conv(given, wanted, kernel_size),
        )
        for given, wanted in zip(coarsest_first, path_channels, strict=True)
    ]


def _refined_classifier(num_classes: int) -> nn.Module:
    return nn.Sequential(
        ResidualConvUnit(256),
        ResidualConvUnit(256),
        nn.Dropout(0.5),
        conv(256, num_classes, 3, bias=True),
    )
