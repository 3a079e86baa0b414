"""What every backbone is: an image classifier without its head, which gives its features.

Batch norm keeps its ImageNet statistics throughout: batches of crops are too small to estimate
better ones, and the published weights were trained so.
"""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn

from refinenet.renaming import Weights

Features = tuple[Tensor, ...]


class Backbone(nn.Module):
    """A feature extractor whose batch norm statistics stay frozen, in training mode too.

    feature_channels: the channels of every feature, finest first. Odd sizes round up.
    """

    feature_channels: tuple[int, ...]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    @property
    def pretrained(self) -> tuple[Backbone, ...]:
        """The backbones that start from ImageNet weights: this one, or those it is made of."""
        return (self,)

    def imagenet_weights(self, classifier: Weights) -> Weights:
        """Of a torchvision classifier's weights, those of this backbone, under its own keys.

        What does not belong to this architecture stays in, so that loading it strictly fails.
        """
        raise NotImplementedError

    def forward(self, image: Tensor) -> Features:
        raise NotImplementedError


class ResidualBlock(nn.Module):
    """A block with a shortcut around it. Quantization-aware training rounds the input of such a
    block once, for its convolutions and its shortcut."""

    @property
    def has_shortcut(self) -> bool:
        raise NotImplementedError

    @property
    def readers(self) -> tuple[nn.Module, ...]:
        """The convolutions that read the block's input."""
        raise NotImplementedError

    @property
    def last(self) -> nn.Module:
        """The convolution whose result is added to the shortcut."""
        raise NotImplementedError
