"""Which network a state_dict is of, told by its keys alone."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import torch

from refinenet.networks.blocks import pooling_in
from refinenet.renaming import Rename, Weights, renamed
from refinenet.variants import VARIANTS, create_model, join_variant
from runtime.errors import CheckpointError

OURS: Rename = ()  # the table of keys that are this project's already
TORCHVISION = re.compile(r"(?:conv1|bn1|layer[1-4]|fc|features|classifier)\.")


def recognize(weights: Weights, path: Path) -> tuple[str, int, Weights]:
    """The nearest variant to these published or own keys, the class count, and the weights under
    this project's keys. Whether all of them fit is for load.fill to say.

    The order of the pooling leaves no trace in the keys: it is taken for pool-conv.

    Raises CheckpointError if no variant has any of the keys, or for an unusable classifier.
    """
    if all(TORCHVISION.match(key) for key in weights):
        raise CheckpointError(
            f"{path} is an ImageNet classifier; expected a RefineNet. Train one that starts from "
            f"it: refinenet train --backbone-weights {path}"
        )
    variant, ours = _nearest(weights, (OURS, *_published_tables()))
    if variant is None:
        raise CheckpointError(
            f"{path} fits no known network: its first keys are {', '.join(list(weights)[:3])}. "
            f"Expected the keys of one of: {', '.join(VARIANTS)}"
        )
    return variant, _num_classes(ours, variant, path), ours


def nearest_variant(weights: Weights) -> str | None:
    """The variant that shares the greatest part of these keys of ours, or None."""
    return _nearest(weights, (OURS,))[0]


def _published_tables() -> tuple[Rename, ...]:
    """Each once: several variants share one."""
    return tuple(dict.fromkeys(table for row in VARIANTS.values() for table in row.published))


def _nearest(weights: Weights, tables: tuple[Rename, ...]) -> tuple[str | None, Weights]:
    """The variant and the reading of the keys that share most; the first that share all."""
    readings = [renamed(weights, table) for table in tables]
    best: tuple[str | None, Weights] = (None, weights)
    most = 0.0
    for row in VARIANTS:  # the outer loop: building a network's keys is what takes time
        for reading in readings:
            keys = frozenset(key for key in reading if not key.endswith("num_batches_tracked"))
            variant = join_variant(row, pooling_in(keys))
            expected = _shapes_of(variant).keys()
            share = len(keys & expected) / len(keys | expected)
            if share > most:
                best, most = (variant, reading), share
            if share == 1:
                return best
    return best


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
