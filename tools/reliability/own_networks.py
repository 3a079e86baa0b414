"""Networks of one's own as people bring them, for `--factory tools.reliability.own_networks:NAME`.

Each takes (N, 3, H, W) float RGB within 0 and 1, as ONES in met/networks.py normalizes it.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = (48, 64)  # of what is tied to one size


class Wrapped(nn.Module):
    """Gives what a function makes of the image."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Any:
        return self.function(image)


def by_colour() -> nn.Module:
    """Class 0 where red is the brightest channel, 1 for green, 2 for blue."""
    return Wrapped(lambda image: image * 1.5)


def one_channel() -> nn.Module:
    """Positive where red outweighs green and blue: a logit."""
    return Wrapped(lambda image: image[:, :1] - image[:, 1:].mean(1, keepdim=True))


def probability() -> nn.Module:
    return Wrapped(lambda image: torch.sigmoid(image[:, :1] - image[:, 1:].mean(1, keepdim=True)))


def clamped() -> nn.Module:
    """Within 0 and 1, though no sigmoid made it."""
    return Wrapped(lambda image: (image[:, :1] - image[:, 1:2] + 0.5).clamp(0, 1))


def class_ids() -> nn.Module:
    return Wrapped(lambda image: image.argmax(1, keepdim=True).float())


def under_logits() -> nn.Module:
    return Wrapped(lambda image: {"loss": None, "logits": image * 1.5})


def in_an_object() -> nn.Module:
    return Wrapped(lambda image: SimpleNamespace(logits=image * 1.5))


def two_unnamed() -> nn.Module:
    return Wrapped(lambda image: {"a": image, "b": image})


class Positions(nn.Module):
    """Learned positions for one size."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 3, *SIZE))

    def forward(self, image: Tensor) -> Any:
        return image + self.positions


def positions() -> nn.Module:
    return Positions()


def bins() -> nn.Module:
    """A pooling pyramid, whose kernels the exporter takes from the example."""

    def pooled(image: Tensor) -> Tensor:
        small = F.adaptive_avg_pool2d(image, 3)
        return image + F.interpolate(small, image.shape[2:], mode="bilinear")

    return Wrapped(pooled)


def own_size() -> nn.Module:
    """Turns its size into Python numbers, which the exporter keeps."""
    return Wrapped(
        lambda image: F.interpolate(
            F.avg_pool2d(image, 4), (int(image.shape[2]), int(image.shape[3]))
        )
    )


def strided() -> nn.Module:
    """Fits together at multiples of 8 alone."""

    def joined(image: Tensor) -> Tensor:
        small = F.max_pool2d(image, 8, ceil_mode=True)
        return image + F.interpolate(small, scale_factor=8.0)

    return Wrapped(joined)


def failing() -> nn.Module:
    raise RuntimeError("it has no weights")


def no_network() -> list[int]:
    return [1]


class Colours(nn.Module):
    """Two 1x1 convolutions within an attribute that is called as DataParallel's prefix is."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))

    def forward(self, image: Tensor) -> Any:
        return self.module(image)


def named_module() -> nn.Module:
    return Colours()


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))


def ordered(order: tuple[int, int, int], prefix: str = "") -> dict[str, Tensor]:
    """The weights of plain() with which score i is channel order[i]."""
    scores = torch.eye(3)[list(order)].reshape(3, 3, 1, 1)
    weights = {"0.weight": scores, "1.weight": torch.eye(3).reshape(3, 3, 1, 1)}
    biases = {"0.bias": torch.zeros(3), "1.bias": torch.zeros(3)}
    return {prefix + key: value.clone() for key, value in (weights | biases).items()}
