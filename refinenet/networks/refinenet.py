"""RefineNet: a backbone, a cascade of RefineNet blocks from coarse to fine, and a classifier.

The networks of both papers differ in data alone: how wide the paths are, what each block fuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from refinenet.backbones.backbone import Backbone
from refinenet.network import SegmentationNetwork
from refinenet.networks.blocks import Pooling, RefineNetBlock, ResidualConvUnit, conv


@dataclass(frozen=True)
class BlockPlan:
    """paths: the channels of what the block takes, finest first; where there is a block before
    it, that one's are the last. channels: of what it gives."""

    paths: tuple[int, ...]
    channels: int


@dataclass(frozen=True)
class CascadePlan:
    """blocks: from the coarsest to the finest.
    reductions: the channels that the backbone's features are brought to, coarsest first; None
    where they go into the fusion as they are.
    light: 1x1 convolutions and no residual units, as in Light-Weight RefineNet.
    activation: of the chained residual pooling.
    """

    blocks: tuple[BlockPlan, ...]
    reductions: tuple[int, ...] | None
    light: bool = False
    activation: type[nn.ReLU] | type[nn.ReLU6] = nn.ReLU


# Lin et al., CVPR 2017, figure 2c.
FOUR_CASCADED = CascadePlan(
    blocks=(
        BlockPlan((512,), 512),
        BlockPlan((256, 512), 256),
        BlockPlan((256, 256), 256),
        BlockPlan((256, 256), 256),
    ),
    reductions=(512, 256, 256, 256),
)
# The paper's comparison of variants tells which levels go where. The channels follow the rule of
# the authors' code, which fuses to the fewest channels among a block's paths.
TWO_CASCADED = CascadePlan(
    blocks=(BlockPlan((256, 512), 256), BlockPlan((256, 256, 256), 256)),
    reductions=(512, 256, 256, 256),
)
SINGLE = CascadePlan(
    blocks=(BlockPlan((256, 256, 256, 512), 256),), reductions=(512, 256, 256, 256)
)
# The features of two ResNets: a block takes the same level of both, as in the authors' training
# options.
TWO_SCALE = CascadePlan(
    blocks=(
        BlockPlan((512, 512), 512),
        BlockPlan((256, 256, 512), 256),
        BlockPlan((256, 256, 256), 256),
        BlockPlan((256, 256, 256), 256),
    ),
    reductions=(512, 512, 256, 256, 256, 256, 256, 256),
)
# Nekrasov et al., BMVC 2018.
LIGHT_WEIGHT = CascadePlan(FOUR_CASCADED.blocks, FOUR_CASCADED.reductions, light=True)
LIGHT_WEIGHT_MOBILE = CascadePlan(
    blocks=(
        BlockPlan((320, 160), 256),
        BlockPlan((96, 64, 256), 256),
        BlockPlan((32, 256), 256),
        BlockPlan((24, 256), 256),
    ),
    reductions=None,
    light=True,
    activation=nn.ReLU6,
)


class RefineNet(SegmentationNetwork):
    """Each block refines some features of the backbone with what the coarser blocks saw.

    The scores of an image (H, W) are (ceil(H/4), ceil(W/4)).
    """

    output_stride = 4

    def __init__(
        self, backbone: Backbone, plan: CascadePlan, num_classes: int, pooling: Pooling
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.reductions = nn.ModuleList(_reductions(backbone.feature_channels, plan))
        self.blocks = nn.ModuleList(
            RefineNetBlock(
                block.paths,
                block.channels,
                kernel_size=1 if plan.light else 3,
                residual_units=not plan.light,
                pooling=pooling,
                activation=plan.activation,
            )
            for block in plan.blocks
        )
        self.classifier = _classifier(plan, num_classes)
        # All blocks but the first have one path more: the block before.
        self._features_per_block = [len(b.paths) - (i > 0) for i, b in enumerate(plan.blocks)]

    @property
    def pretrained_backbones(self) -> tuple[Backbone, ...]:
        return self.backbone.pretrained

    @property
    def classifiers(self) -> tuple[str, ...]:
        return (f"classifier.{len(self.classifier) - 1}",)

    def forward(self, image: Tensor) -> Tensor:
        coarsest_first = zip(self.reductions, reversed(self.backbone(image)), strict=True)
        features = [reduce(feature) for reduce, feature in coarsest_first]
        coarser: tuple[Tensor, ...] = ()
        for block, count in zip(self.blocks, self._features_per_block, strict=True):
            own, features = features[:count], features[count:]
            coarser = (block(*reversed(own), *coarser),)
        scores: Tensor = self.classifier(*coarser)
        return scores


class TwoScaleRefineNet(RefineNet):
    """The 4-cascaded 2-scale RefineNet, on a backbone TwoScale.

    The number of ResNets and the scales 1.2 and 0.6 are the paper's. Ours: the image is resized
    bilinearly, and the scores, which lie at 1.2 of the usual size, are brought to the usual size.
    """

    def forward(self, image: Tensor) -> Tensor:
        size = [(side + 3) // 4 for side in image.shape[-2:]]
        return F.interpolate(super().forward(image), size, mode="bilinear")


def _reductions(feature_channels: Sequence[int], plan: CascadePlan) -> list[nn.Module]:
    """Features, given finest first, to the channels of their paths, coarsest first."""
    coarsest_first = reversed(feature_channels)
    if plan.reductions is None:
        return [nn.Identity() for _ in coarsest_first]
    return [
        nn.Sequential(
            # On the wide features only, as the published networks were trained.
            nn.Dropout(0.5) if given > 512 else nn.Identity(),
            conv(given, wanted, kernel_size=1 if plan.light else 3),
        )
        for given, wanted in zip(coarsest_first, plan.reductions, strict=True)
    ]


def _classifier(plan: CascadePlan, num_classes: int) -> nn.Sequential:
    channels = plan.blocks[-1].channels
    scores = conv(channels, num_classes, 3, bias=True)
    if plan.light:
        return nn.Sequential(scores)
    return nn.Sequential(
        ResidualConvUnit(channels), ResidualConvUnit(channels), nn.Dropout(0.5), scores
    )
