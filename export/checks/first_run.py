"""A network run once in PyTorch, at the size that is exported, before anything else is done.

What it gives there also tells how its result is to be read: scores, one channel, or class ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from export.checks.scores import (
    CLASS_MAP,
    EXPECTED,
    ONE_CHANNEL,
    SCORES,
    Reading,
    found,
    told,
)
from runtime.errors import DeployError, InputError

MULTIPLES = (2, 4, 8, 16, 32, 64)  # of the sides, that strided networks ask for
MOST_CLASSES = 256  # a mask is uint8


def trial_image(batch: int, size: tuple[int, int]) -> Tensor:
    """(batch, 3, height, width) float32 within what normalized photos hold: a slope in each
    channel, and noise on its right half. The same every time."""
    height, width = size
    generator = torch.Generator().manual_seed(0)
    down = torch.linspace(-2, 2, height)[:, None].expand(height, width)
    across = torch.linspace(2, -2, width)[None].expand(height, width)
    slopes = torch.stack([down, across, (down * across).sin() * 2])
    noise = torch.rand((batch, *slopes.shape), generator=generator) * 4 - 2
    images = slopes.repeat(batch, 1, 1, 1)
    images[..., width // 2 :] = noise[..., width // 2 :]
    return images


def first_run(
    network: nn.Module,
    name: str,
    size: tuple[int, int],
    batch: int = 1,
    threshold: float | None = None,
) -> Reading:
    """Run the network on one trial image and say how its result is to be read.

    network: (N, 3, H, W) float, in evaluation mode. name: for messages.
    threshold: of one channel, where the user says it; None to tell it from the result.

    Raises InputError with the network's own reason if it fails at this size, for a result that
    holds no scores, and for one whose meaning cannot be told.
    """
    image = trial_image(batch, size)
    watch = _Watch()
    try:
        with users_code(f"{name} fails on images {tuple(image.shape)}"), watch:
            result = _run(network, image)
    except DeployError as error:
        raise InputError(f"{error}{_size_that_runs(network, size, batch)}") from error
    scores = found(result)
    _check_shape(scores, image, name)
    return _reading(scores, watch, name, threshold)


def _run(network: nn.Module, image: Tensor) -> Any:
    with torch.no_grad():
        return network(image)


@contextmanager
def users_code(failing: str) -> Iterator[None]:
    """Turn whatever the user's own code raises into one line that begins with `failing`."""
    try:
        yield
    except DeployError:
        raise
    except ModuleNotFoundError as error:
        raise InputError(
            f"{failing}: no module named {error.name}; call refinenet where it lies, or install it"
        ) from error
    except (Exception, SystemExit) as error:
        problem = " ".join(str(error).split())[:300].rstrip(".")
        raise InputError(
            f"{failing}: {type(error).__name__}: {problem}; call it in Python to see where"
        ) from error


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees the operators that PyTorch runs.

    chosen_of: the number of channels that the last argmax or maximum chose from. argmax: whether
    there was an argmax. probability: the result of the last sigmoid.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.chosen_of: int | None = None
        self.argmax = False
        self.probability: Tensor | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        operator = func.overloadpacket
        if operator in (torch.ops.aten.argmax, torch.ops.aten.max):
            self.argmax |= operator is torch.ops.aten.argmax
            if len(args) > 1 and isinstance(args[1], int) and args[0].dim() == 4:
                self.chosen_of = args[0].shape[args[1]]
        elif operator in (torch.ops.aten.sigmoid, torch.ops.aten.hardsigmoid):
            self.probability = result
        return result


def _size_that_runs(network: nn.Module, size: tuple[int, int], batch: int) -> str:
    """The nearest larger size whose sides are multiples that strided networks ask for, in words;
    nothing where the network fails there too."""
    for multiple in MULTIPLES:
        height, width = (-(-side // multiple) * multiple for side in size)
        if (height, width) == size:
            continue
        try:
            found(_run(network, trial_image(batch, (height, width))))
        except (Exception, SystemExit):  # the user's code again
            continue
        return f". It runs at --size {height}x{width}, whose sides are multiples of {multiple}"
    return ""


def _check_shape(scores: Tensor, image: Tensor, name: str) -> None:
    batch, _, height, width = image.shape
    rows, columns = scores.shape[-2:]
    # Scores are about as wide for their height as the image, a pixel aside; channels that come
    # last, or classes alone, are not.
    alike = abs(rows * width - columns * height) <= 4 * max(height, width) or (
        0.5 <= (rows * width) / max(1, columns * height) <= 2
    )
    if scores.shape[0] != batch or not alike:
        raise InputError(f"{name} gives {told(scores)} for images {tuple(image.shape)}; {EXPECTED}")


def _reading(scores: Tensor, watch: _Watch, name: str, threshold: float | None) -> Reading:
    channels = scores.shape[1] if scores.dim() == 4 else 1
    whole = not scores.is_floating_point()
    if channels > 1 and not whole:
        if channels > MOST_CLASSES:
            raise InputError(f"{name} gives {channels} classes; a uint8 mask holds 1 to 256")
        _check_finite(scores, name)
        return Reading(SCORES, channels)
    if channels > 1:
        raise InputError(f"{name} gives {told(scores)}; {EXPECTED}")
    if scores.dtype == torch.bool:
        return Reading(CLASS_MAP, 2)
    if whole and watch.chosen_of == 1:
        raise InputError(
            f"{name} takes the best of 1 class, so that its mask is all 0; return its score instead"
        )
    if whole:
        return Reading(CLASS_MAP, watch.chosen_of)
    _check_finite(scores, name)
    return _reading_of_one_channel(scores, watch, name, threshold)


def _check_finite(scores: Tensor, name: str) -> None:
    if not torch.isfinite(scores).all():
        raise InputError(
            f"{name} gives scores that are not finite for an ordinary image; look for a division "
            "by zero, or weights that were not loaded"
        )


def _reading_of_one_channel(
    scores: Tensor, watch: _Watch, name: str, threshold: float | None
) -> Reading:
    if threshold is not None:
        return Reading(ONE_CHANNEL, 2, threshold)
    lowest, highest = float(scores.min()), float(scores.max())
    ids = bool((scores == scores.round()).all()) and lowest >= 0
    if ids and watch.chosen_of != 1 and (watch.chosen_of is not None or lowest < highest):
        return Reading(CLASS_MAP, watch.chosen_of)
    if watch.probability is not None and _same_values(scores, watch.probability):
        return Reading(ONE_CHANNEL, 2, 0.5)
    if (lowest >= 0 and highest <= 1) or lowest == highest or watch.argmax:
        raise InputError(
            f"{name} gives one channel, {lowest:.3g} to {highest:.3g} on a trial image, which may "
            "be logits, probabilities or class ids. Say above which value a pixel is foreground, "
            'in the file of --card: "details": {"threshold": 0.5}; or return two channels'
        )
    return Reading(ONE_CHANNEL, 2)


def _same_values(scores: Tensor, probability: Tensor) -> bool:
    return scores.numel() == probability.numel() and torch.equal(
        scores.flatten(), probability.flatten()
    )
