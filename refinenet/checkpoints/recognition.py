"""Which network a state_dict is of, told by its keys alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from refinenet.checkpoints.published_keys import (
    LIGHT_WEIGHT,
    LIGHT_WEIGHT_MOBILE,
    REFINENET,
    Weights,
    renamed,
)
from refinenet.networks.blocks import POOL_CONV, PUBLISHED_POOLING, Pooling
from refinenet.variants import VARIANTS, create_model, join_variant
from runtime.errors import CheckpointError

OURS = ()  # the rename table of keys that are this project's already
TORCHVISION = re.compile(r"(?:conv1|bn1|layer[1-4]|fc|features|classifier)\.")
CLASSIFIER = re.compile(r"classifier\.\d\.weight")
LINK = re.compile(r"blocks\.\d\.pool\.convs\.(\d+)\.weight")


def recognize(weights: Weights, path: Path) -> tuple[str, int, Weights]:
    """The nearest variant to these published or own keys, the class count, and the weights under
    this project's keys. Whether all of them fit is for checkpoints.fill to say.

    The order of the pooling leaves no trace in the keys: it is taken for pool-conv.

    Raises CheckpointError if no variant has any of the keys, or for an unusable classifier.
    """
    if all(TORCHVISION.match(key) for key in weights):
        raise CheckpointError(
            f"{path} is an ImageNet classifier; expected a RefineNet. Train one that starts from "
            f"it: refinenet train --backbone-weights {path}"
        )
    tables = (OURS, REFINENET, LIGHT_WEIGHT, LIGHT_WEIGHT_MOBILE)
    readings = [renamed(weights, table) for table in tables]
    variant, ours = _nearest(readings)
    if variant is None:
        raise CheckpointError(
            f"{path} fits no known network: its first keys are {', '.join(list(weights)[:3])}. "
            f"Expected the keys of one of: {', '.join(VARIANTS)}"
        )
    return variant, _num_classes(ours, variant, path), ours


def nearest_variant(weights: Weights) -> str | None:
    """The variant that shares the greatest part of these keys of ours, or None."""
    return _nearest([weights])[0]


def _nearest(readings: Sequence[Weights]) -> tuple[str | None, Weights]:
    """The variant and the reading of the keys that share most; the first that share all."""
    best: tuple[str | None, Weights] = (None, readings[0])
    most = 0.0
    for row in VARIANTS:  # the outer loop: building a network's keys is what takes time
        for reading in readings:
            keys = {key for key in reading if not key.endswith("num_batches_tracked")}
            links = [int(match[1]) + 1 for match in map(LINK.fullmatch, keys) if match]
            pooling = Pooling(POOL_CONV, max(links, default=PUBLISHED_POOLING.links))
            variant = join_variant(row, pooling)
            share = len(keys & _keys_of(variant)) / len(keys | _keys_of(variant))
            if share > most:
                best, most = (variant, reading), share
            if share == 1:
                return best
    return best


@cache
def _keys_of(variant: str) -> frozenset[str]:
    with torch.device("meta"):  # shapes without values
        keys = create_model(variant, num_classes=1).state_dict()
    return frozenset(key for key in keys if not key.endswith("num_batches_tracked"))


def _num_classes(weights: Weights, variant: str, path: Path) -> int:
    key = next(key for key in _keys_of(variant) if CLASSIFIER.fullmatch(key))
    shape = weights[key].shape if key in weights else torch.Size()
    if len(shape) != 4 or not 1 <= shape[0] <= 256:
        found = tuple(shape) if key in weights else "missing"
        raise CheckpointError(
            f"{path} fits no known network: in the nearest, {variant}, {key} is {found}; expected "
            "(classes, 256, 3, 3) with 1 to 256 classes"
        )
    return shape[0]
