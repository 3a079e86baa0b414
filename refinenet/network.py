"""The contract of every network, and all that training, export and INT8 ask of one."""

from __future__ import annotations

from torch import Tensor, nn

from refinenet.backbones.backbone import Backbone


class SegmentationNetwork(nn.Module):
    """(N, 3, H, W) float, normalized as the card says, to class scores (N, C, h, w).

    h and w are near H / output_stride and W / output_stride and are rounded as the architecture
    rounds them: whoever needs them reads them off the scores.

    output_stride: nominal, pixels of the image for one of the scores.
    least: the shortest side of an image that it takes, in pixels.
    """

    output_stride: int
    least: int = 1

    @property
    def pretrained_backbones(self) -> tuple[Backbone, ...]:
        """The parts that start from ImageNet weights: they have a learning rate of their own, and
        `train --backbone-weights` fills them. Empty for a network without one."""
        raise NotImplementedError

    @property
    def classifiers(self) -> tuple[str, ...]:
        """The names of the convolutions whose output channels are the classes. `--new-classifier`
        replaces them, and they never become INT8."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        raise NotImplementedError
