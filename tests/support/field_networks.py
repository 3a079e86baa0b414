"""Tiny networks of kinds that people brought, as functions for --factory.

Scores that know their colours, one channel, class ids, results under names; and networks that are
tied to a size in the ways that exporters stumble over.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ByColour(nn.Module):
    """The brightest of its three channels, at full size."""

    def forward(self, image: Tensor) -> Any:
        return image * torch.ones(3, 1, 1)


class Red(nn.Module):
    """One channel, positive where red outweighs green and blue."""

    def forward(self, image: Tensor) -> Any:
        return image[:, :1] - image[:, 1:].mean(1, keepdim=True)


class Wrapped(nn.Module):
    """Gives what `wrap` makes of another network's scores."""

    def __init__(self, network: nn.Module, wrap: Any) -> None:
        super().__init__()
        self.network, self.wrap = network, wrap

    def forward(self, image: Tensor) -> Any:
        return self.wrap(self.network(image))


def bycolour() -> nn.Module:
    return ByColour()


def red() -> nn.Module:
    return Red()


def red_squeezed() -> nn.Module:
    return Wrapped(Red(), lambda scores: scores[:, 0])


def red_probability() -> nn.Module:
    return Wrapped(Red(), torch.sigmoid)


def red_clamped() -> nn.Module:
    """Probabilities that no sigmoid made."""
    return Wrapped(Red(), lambda scores: (scores / 8 + 0.5).clamp(0, 1))


def class_ids() -> nn.Module:
    return Wrapped(ByColour(), lambda scores: scores.argmax(1))


def float_ids() -> nn.Module:
    return Wrapped(ByColour(), lambda scores: scores.argmax(1, keepdim=True).float())


def indices() -> nn.Module:
    """Class ids out of a maximum."""
    return Wrapped(ByColour(), lambda scores: scores.max(1, keepdim=True)[1])


def red_or_not() -> nn.Module:
    return Wrapped(Red(), lambda scores: scores[:, 0] > 0)


def unnumbered_ids() -> nn.Module:
    """Integers, of which nothing tells how many there are."""
    return Wrapped(Red(), lambda scores: (scores[:, 0] > 0).long())


def one_class_ids() -> nn.Module:
    return Wrapped(Red(), lambda scores: scores.argmax(1))


def smoothed_ids() -> nn.Module:
    return Wrapped(ByColour(), lambda s: F.avg_pool2d(s.argmax(1, keepdim=True).float(), 3, 1, 1))


def constant() -> nn.Module:
    return Wrapped(Red(), lambda scores: scores * 0)


def endless() -> nn.Module:
    return Wrapped(ByColour(), lambda scores: scores / 0)


def channels_last() -> nn.Module:
    return Wrapped(ByColour(), lambda scores: scores.permute(0, 2, 3, 1))


def named_logits() -> nn.Module:
    return Wrapped(ByColour(), lambda scores: {"loss": None, "logits": scores})


def named_otherwise() -> nn.Module:
    return Wrapped(ByColour(), lambda scores: {"mask": scores})


def in_an_object() -> nn.Module:
    return Wrapped(ByColour(), lambda scores: SimpleNamespace(logits=scores, hidden=None))


def after_a_loss() -> nn.Module:
    return Wrapped(ByColour(), lambda scores: (scores.mean(), scores))


def nested() -> nn.Module:
    return Wrapped(ByColour(), lambda scores: [{"out": scores, "aux": scores[:, :1]}])


def two_unnamed() -> nn.Module:
    return Wrapped(ByColour(), lambda scores: {"a": scores, "b": scores})


def half() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, 2, 3, padding=1).to(torch.bfloat16)


# Networks that are tied to sizes.


class Strided(nn.Module):
    """An encoder and decoder of stride 8: other sides than multiples of 8 do not fit together."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.ModuleList(nn.Conv2d(c, 8, 3, 2, 1) for c in (3, 8, 8))
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, image: Tensor) -> Any:
        kept = [image]
        for layer in self.down:
            kept.append(F.relu(layer(kept[-1])))
        up = F.interpolate(kept[3], scale_factor=2.0) + kept[2]
        scores = self.head(F.interpolate(up, scale_factor=2.0) + kept[1])
        return scores + F.avg_pool2d(image, 2)


class Pyramid(nn.Module):
    """Pools into bins, whose kernels the exporter takes from the example."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 8, 3, 4, 1)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = nn.Conv2d(16, 3, 1)

    def forward(self, image: Tensor) -> Any:
        features = self.features(image)
        pooled = F.interpolate(self.pool(features), features.shape[2:], mode="bilinear")
        return self.head(torch.cat([features, pooled], 1))


class NamedModule(nn.Module):
    """Its part is called as DataParallel's prefix is."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1))

    def forward(self, image: Tensor) -> Any:
        return self.module(image)


def named_module() -> nn.Module:
    return NamedModule()


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1))


class OwnSize(nn.Module):
    """Turns its size into Python numbers, which the exporter keeps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 3, 3, 2, 1)

    def forward(self, image: Tensor) -> Any:
        return F.interpolate(self.layer(image), (int(image.shape[2]), int(image.shape[3])))


class Positions(nn.Module):
    """Learned positions for images of 64x96."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 4, 8, 8)
        self.positions = nn.Parameter(torch.randn(1, 4, 8, 12))

    def forward(self, image: Tensor) -> Any:
        return self.layer(image) + self.positions


def strided() -> nn.Module:
    return Strided()


def pyramid() -> nn.Module:
    return Pyramid()


def own_size() -> nn.Module:
    return OwnSize()


def positions() -> nn.Module:
    return Positions()
