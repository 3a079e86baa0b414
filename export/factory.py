"""The network to export: weights of ours, or whatever a function of the user's returns.

The function's code runs because the user named it; nothing that a file says is ever run.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from inspect import getsourcefile, unwrap
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import nn

from export.checks.first_run import first_run, users_code
from export.checks.scores import CLASS_MAP, ONE_CHANNEL, SCORES, Reading, Scores
from export.frame_model import CLASS_MAP_KEY, THRESHOLD, network_card
from refinenet.checkpoints.load import (
    fitting,
    load_checkpoint,
    published_card,
    read_weights,
    weights_path,
)
from refinenet.data.datasets import voc_palette
from refinenet.network import SegmentationNetwork
from runtime.card import Card, read_card_file
from runtime.errors import CheckpointError, InputError
from runtime.files import existing_file, sha256_of

BACKGROUND, FOREGROUND = "background", "foreground"


@dataclass(frozen=True)
class Source:
    """network: (N, 3, H, W) float, normalized, to scores (N, C, h, w) or, where reading says so,
    to class ids (N, h, w); in evaluation mode.
    card: its classes, and what it is fed.
    sha256: of the weights file, or of the weights themselves where there is none."""

    network: nn.Module
    card: Card
    sha256: str
    name: str
    reading: Reading


def open_source(
    weights: str | Path | None,
    factory: str | None = None,
    card_file: Path | None = None,
    variant: str | None = None,
    *,
    size: tuple[int, int] = (64, 64),
    batch: int = 1,
    weights_key: str | None = None,
) -> Source:
    """The network to export, or to compare an export with; run once.

    weights: whatever refinenet.load_model takes. With a factory: the state_dict for its network,
    or None where the function loads its weights itself.
    factory: package.module:function of the user's. It takes nothing and returns a network whose
    result is scores, alone, first in a tuple, or under "out" or "logits" in a dict or an object;
    one channel of foreground scores; or class ids.
    card_file: class names, colours, mean, std and channel order of such a network; numbered classes
    and ImageNet's mean and std otherwise.
    variant: of weights whose keys are those of several networks; see refinenet.load_model.
    size: (height, width) of the images that it is run on, batch at a time.
    weights_key: which of several sets of weights in the file to take.

    Raises InputError for a factory that cannot be imported or gives something else, for a network
    that fails at this size, and for a result whose meaning cannot be told; CheckpointError for
    weights that do not fit.
    """
    given = None if card_file is None else replace(read_card_file(card_file), variant=factory or "")
    return read_source(
        open_network(weights, factory, variant=variant, weights_key=weights_key), given, size, batch
    )


@dataclass(frozen=True)
class Opened:
    """A network that has not run yet. card: of weights that carry one. factory: what made it."""

    network: nn.Module
    sha256: str
    name: str
    card: Card | None
    factory: str | None


def open_network(
    weights: str | Path | None,
    factory: str | None,
    *,
    variant: str | None = None,
    weights_key: str | None = None,
) -> Opened:
    """The network alone; see open_source."""
    if factory is None:
        if weights is None:
            raise InputError("no weights given, and no --factory; give one of them")
        path = weights_path(weights)
        network, card = load_checkpoint(path, variant, weights_key)
        return Opened(network, sha256_of(path), str(path), card, None)
    own = _made(factory)
    sha256 = _fill(own, existing_file(weights), factory, weights_key) if weights else _hash_of(own)
    return Opened(own, sha256, factory, None, factory)


def read_source(
    opened: Opened, given: Card | None, size: tuple[int, int] = (64, 64), batch: int = 1
) -> Source:
    """The network, run once; see open_source. given: the user's card, or that of an export."""
    _check_finite(opened)
    network = opened.network
    if isinstance(network, SegmentationNetwork) and min(size) < network.least:
        of = opened.card.variant if opened.card is not None else opened.name
        raise InputError(
            f"size {size[0]}x{size[1]}; {of} needs at least {network.least}x{network.least}"
        )
    card = opened.card or (given and network_card(given))
    name = opened.name if opened.factory is None else f"the network of {opened.factory}"
    threshold = _threshold(card)
    if opened.card is not None and len(opened.card.classes) == 1:
        threshold = threshold or 0.0  # what trains one channel gives logits
    reading = first_run(opened.network, name, size, batch, threshold)
    if opened.card is not None and reading.kind == SCORES:
        return Source(opened.network, opened.card, opened.sha256, opened.name, reading)
    card = _named(card, reading, opened.name)
    if opened.factory is not None:
        card = replace(card, details={**card.details, "factory": opened.factory})
    scores = Scores(opened.network, reading).eval()
    return Source(scores, card, opened.sha256, opened.name, reading)


def _check_finite(opened: Opened) -> None:
    for name, values in opened.network.state_dict().items():
        if not torch.isfinite(values).all():
            raise InputError(
                f"{opened.name}: {name} is not finite: the training that wrote it diverged. "
                "Export an earlier checkpoint"
            )


def _threshold(card: Card | None) -> float | None:
    """Above which one channel means foreground, where the card says so."""
    value = None if card is None else card.details.get(THRESHOLD)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise InputError(f"the card's threshold is {value!r}; expected a number, such as 0.5")
    return float(value)


def _named(given: Card | None, reading: Reading, name: str) -> Card:
    """The card with as many classes as the network tells apart."""
    count = reading.num_classes
    if given is None and count is None:
        raise InputError(
            f"{name} gives class ids, and nothing tells how many classes there are; name them with "
            "--card FILE, or return the scores before the argmax"
        )
    card = given or published_card(name, count or 0)
    if reading.kind == ONE_CHANNEL:
        card = _two_classes(card, given is not None)
        card = replace(card, details={**card.details, THRESHOLD: reading.threshold})
    if count not in (None, len(card.classes)):
        raise InputError(f"the card names {len(card.classes)} classes; {name} gives {count}")
    if reading.kind == CLASS_MAP:
        card = replace(card, details={**card.details, CLASS_MAP_KEY: True})
    return card


def _two_classes(card: Card, named: bool) -> Card:
    """Background and foreground; a class that the user has named is the foreground."""
    if not named or card.classes == ("class_0",):
        names, (background, colour) = (BACKGROUND, FOREGROUND), voc_palette(2)
    elif len(card.classes) == 1:
        names, (background, colour) = (BACKGROUND, card.classes[0]), ((0, 0, 0), card.palette[0])
    else:
        return card
    return replace(card, classes=names, palette=(background, colour))


def _made(factory: str) -> nn.Module:
    function = _function(factory)
    with users_code(f"factory {factory} fails"):
        network = function()
    if not isinstance(network, nn.Module):
        raise InputError(f"{factory} gives {type(network).__name__}; expected a torch.nn.Module")
    # What torch.compile returns wraps the network that is to be exported. Half precision is for
    # the steps after FP32, which every value of it fits into.
    own = getattr(network, "_orig_mod", network)
    return own.float().cpu().eval() if isinstance(own, nn.Module) else network.float().cpu().eval()


def _function(factory: str) -> Callable[[], Any]:
    module_name, _, name = factory.partition(":")
    if not module_name or not name:
        raise InputError(f"factory '{factory}'; expected package.module:function")
    # The installed command does not look where it is called, as `python -m` does.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    with users_code(f"factory {factory} fails"):
        module = import_module(module_name)
    if not hasattr(module, name):
        raise InputError(f"factory {factory}: {module_name} has no attribute '{name}'")
    function = getattr(module, name)
    if not callable(function):
        raise InputError(f"factory {factory}: {name} is no function")
    result: Callable[[], Any] = function
    return result


def source_file(factory: str) -> Path:
    """The file that the factory's code lies in."""
    with users_code(f"factory {factory}: its code lies in no file"):
        return Path(getsourcefile(unwrap(_function(factory))) or "")


def _fill(network: nn.Module, weights: Path, factory: str, weights_key: str | None) -> str:
    given = fitting(read_weights(weights, weights_key), network.state_dict(), weights, weights_key)
    try:
        network.load_state_dict(dict(given))
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{weights} does not fit the network of {factory}: {problem}"
        ) from error
    return sha256_of(weights)


def _hash_of(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
