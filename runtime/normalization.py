"""What a network is fed: levels of 0 to 255 brought to the range that it was trained with."""

from __future__ import annotations

from typing import NamedTuple


class Normalization(NamedTuple):
    """(x / 255 - mean) / std, channel by channel.

    mean, std: of red, green and blue, in this order.
    channel_order: in which the network takes the channels, RGB or BGR.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: str = "RGB"


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
