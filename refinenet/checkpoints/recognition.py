"""Which network a state_dict is of, told by its keys alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from refinenet.checkpoints.containers import first_of, readings
from refinenet.networks.blocks import pooling_in
from refinenet.renaming import Rename, Weights, renamed
from refinenet.variants import VARIANTS, create_model, join_variant, split_variant
from runtime.errors import CheckpointError

OURS: Rename = ()  # the table of keys that are this project's already
TORCHVISION = re.compile(r"(?:conv1|bn1|layer[1-4]|fc|features|classifier)\.")


class Recognized(NamedTuple):
    """weights: under this project's keys."""

    variant: str
    num_classes: int
    weights: Weights


def recognizable(weights: Weights, path: Path, *, quiet: bool = False) -> Weights:
    """The weights without the prefixes of wrappers and training modules around the network, which
    are cut only where what is left fits a known network better.

    quiet: say nothing of other sets of weights in the file.
    """
    shares = []
    for prefix, reading in readings(weights):
        share = _nearest(reading, _tables(VARIANTS))[2]
        shares.append((share, prefix, reading))
        if share == 1 and not prefix:
            return reading
    most = max(share for share, _, _ in shares)
    fitting = [(prefix, reading) for share, prefix, reading in shares if share == most]
    return first_of(weights, fitting, path, quiet=quiet or most < 1)


def recognize(weights: Weights, path: Path, variant: str | None = None) -> Recognized:
    """The nearest variant to these published or own keys, the class count, and the weights under
    this project's keys. Whether all of them fit is for load.fill to say.

    variant: to take instead of the nearest.

    The order of the pooling leaves no trace in the keys: it is taken for pool-conv.

    Raises CheckpointError if no variant has any of the keys, or for an unusable classifier.
    """
    if all(TORCHVISION.match(key) for key in weights):
        raise CheckpointError(
            f"{path} is an ImageNet classifier; expected a RefineNet. Train one that starts from "
            f"it: refinenet train --backbone-weights {path}"
        )
    rows = VARIANTS if variant is None else (split_variant(variant)[0],)
    nearest, ours, _ = _nearest(weights, _tables(rows), rows)
    if nearest is None:
        raise CheckpointError(
            f"{path} fits no known network: its first keys are {', '.join(list(weights)[:3])}. "
            f"Expected the keys of one of: {', '.join(rows)}"
        )
    found = nearest if variant is None else variant
    return Recognized(found, _num_classes(ours, found, path), ours)


def nearest_variant(weights: Weights) -> str | None:
    """The variant that shares the greatest part of these keys of ours, or None."""
    return _nearest(weights, (OURS,))[0]


def _tables(rows: Iterable[str]) -> tuple[Rename, ...]:
    """Of ours and of these variants, each once: several variants share one."""
    published = (table for row in rows for table in VARIANTS[row].published)
    return tuple(dict.fromkeys((OURS, *published)))


def _nearest(
    weights: Weights, tables: tuple[Rename, ...], rows: Iterable[str] = VARIANTS
) -> tuple[str | None, Weights, float]:
    """The variant and the reading of the keys that share most, and the share; the first that share
    all."""
    renamings = [renamed(weights, table) for table in tables]
    best: tuple[str | None, Weights] = (None, weights)
    most = 0.0
    for row in rows:  # the outer loop: building a network's keys is what takes time
        for reading in renamings:
            keys = frozenset(key for key in reading if not key.endswith("num_batches_tracked"))
            variant = join_variant(row, pooling_in(keys))
            expected = _shapes_of(variant).keys()
            share = len(keys & expected) / len(keys | expected)
            if share > most:
                best, most = (variant, reading), share
            if share == 1:
                return *best, share
    return *best, most


@cache
def _shapes_of(variant: str) -> dict[str, torch.Size]:
    with torch.device("meta"):  # shapes without values
        weights = create_model(variant, num_classes=1).state_dict()
    return {k: v.shape for k, v in weights.items() if not k.endswith("num_batches_tracked")}


@cache
def _classifier_key(variant: str) -> str:
    with torch.device("meta"):
        return f"{create_model(variant, num_classes=1).classifiers[0]}.weight"


def _num_classes(weights: Weights, variant: str, path: Path) -> int:
    key = _classifier_key(variant)
    rest = tuple(_shapes_of(variant)[key][1:])
    shape = weights[key].shape if key in weights else torch.Size()
    if len(shape) != 1 + len(rest) or not 1 <= shape[0] <= 256:
        found = tuple(shape) if key in weights else "missing"
        raise CheckpointError(
            f"{path} fits no known network: in the nearest, {variant}, {key} is {found}; expected "
            f"(classes, {', '.join(map(str, rest))}) with 1 to 256 classes"
        )
    return shape[0]
