"""The class scores in whatever a network returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runtime.errors import InputError

NAMES = ("out", "logits")  # torchvision's, and that of Hugging Face's networks
SCORES, ONE_CHANNEL, CLASS_MAP = "scores", "one channel", "class map"
EXPECTED = (
    "expected scores (N, C, h, w), alone, first in a tuple, or under 'out' or 'logits' in a dict "
    "or an object"
)


@dataclass(frozen=True)
class Reading:
    """How the result of a network becomes classes.

    kind: SCORES, one for each class; ONE_CHANNEL, a single score of the foreground; CLASS_MAP, the
    class ids themselves.
    num_classes: 2 for one channel; None for a class map that does not tell.
    threshold: of one channel, above which a pixel is foreground.
    """

    kind: str
    num_classes: int | None
    threshold: float = 0.0


class Scores(nn.Module):
    """The scores alone of a network that returns more, or less.

    forward takes (N, 3, H, W) float and returns scores (N, C, h, w), C at least 2. Of a network
    that gives class ids it returns these, (N, h, w) of any dtype.
    """

    def __init__(self, network: nn.Module, reading: Reading) -> None:
        super().__init__()
        self.network, self.reading = network, reading

    def forward(self, image: Tensor) -> Tensor:
        result = found(self.network(image))
        if self.reading.kind == CLASS_MAP:
            return result[:, 0] if result.dim() == 4 else result
        if self.reading.kind == ONE_CHANNEL:
            # Half of it for each class: their softmax is the sigmoid that the channel stands for.
            half = (_with_channel(result) - self.reading.threshold) / 2
            return torch.cat([-half, half], 1)
        return result


def network_inside(network: nn.Module) -> nn.Module:
    """What a network is without the layer that finds its scores."""
    return network.network if isinstance(network, Scores) else network


def gives_ids(network: nn.Module) -> bool:
    """Whether it gives class ids, so that there are no scores."""
    return isinstance(network, Scores) and network.reading.kind == CLASS_MAP


def found(result: Any) -> Tensor:
    """The scores (N, C, h, w) or (N, h, w) in a network's result; InputError if there are none."""
    place = result
    for _ in range(DEEPEST):
        if isinstance(place, Tensor):
            break
        place = _inside(place)
    if not isinstance(place, Tensor) or place.dim() not in (3, 4):
        raise InputError(f"the network gives {told(result)}; {EXPECTED}")
    return place


DEEPEST = 4  # containers within containers


def _inside(result: Any) -> Any:
    """What a container holds that may be the scores; None if nothing."""
    if isinstance(result, Mapping):
        for name in NAMES:
            if result.get(name) is not None:
                return result[name]
        maps = [value for value in result.values() if _is_map(value)]
        return maps[0] if len(maps) == 1 else None
    for name in NAMES:
        if getattr(result, name, None) is not None:
            return getattr(result, name)
    if isinstance(result, Sequence) and not isinstance(result, str):
        # A loss, or None in its place, may stand before the scores.
        return next((value for value in result if _holds_a_map(value)), None)
    return None


def _is_map(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() in (3, 4)


def _holds_a_map(value: Any) -> bool:
    return _is_map(value) or (value is not None and not isinstance(value, Tensor | float | int))


def told(result: Any) -> str:
    """A result in a few words, for a message."""
    if isinstance(result, Tensor):
        return f"shape {tuple(result.shape)} of {str(result.dtype).removeprefix('torch.')}"
    if isinstance(result, Mapping):
        return f"a {type(result).__name__} with {', '.join(map(str, result)) or 'nothing in it'}"
    return f"a {type(result).__name__}"


def _with_channel(scores: Tensor) -> Tensor:
    return scores if scores.dim() == 4 else scores[:, None]
