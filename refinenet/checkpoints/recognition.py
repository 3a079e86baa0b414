"""Which network a state_dict is of, told by its keys alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from refinenet.checkpoints.containers import first_of, readings
from refinenet.checkpoints.published_keys.key_table import OURS, KeyTable
from refinenet.networks.blocks import pooling_in
from refinenet.renaming import Weights
from refinenet.variants import VARIANTS, create_model, join_variant, split_variant
from runtime.errors import CheckpointError
from runtime.normalization import Normalization

TORCHVISION = re.compile(r"(?:conv1|bn1|layer[1-4]|fc|features|classifier)\.")


@dataclass(frozen=True)
class Recognized:
    """A variant, the class count, and the weights under this project's keys.

    normalization: what these weights are fed.
    """

    variant: str
    num_classes: int
    weights: Weights
    normalization: Normalization


def recognizable(weights: Weights, path: Path, *, quiet: bool = False) -> Weights:
    """The weights without the prefixes of wrappers and training modules around the network, which
    are cut only where what is left fits a known network better.

    quiet: say nothing of other sets of weights in the file.
    """
    shares = []
    for prefix, reading in readings(weights):
        share = _best_readings(reading, None)[1]
        shares.append((share, prefix, reading))
        if share == 1 and not prefix:
            return reading
    most = max(share for share, _, _ in shares)
    fitting = [(prefix, reading) for share, prefix, reading in shares if share == most]
    return first_of(weights, fitting, path, quiet=quiet or most < 1)


def recognize(weights: Weights, path: Path, variant: str | None = None) -> Recognized:
    """The nearest variant to these published or own keys. Whether all of them fit is for load.fill
    to say.

    The order of the pooling leaves no trace in the keys: it is taken for pool-conv.

    variant: the one that they are of, where that is known.

    Raises CheckpointError if no variant has any of the keys, if several have all of them, or for an
    unusable classifier.
    """
    if all(TORCHVISION.match(key) for key in weights):
        raise CheckpointError(
            f"{path} is an ImageNet classifier; expected a segmentation network. Train one that "
            f"starts from it: refinenet train --backbone-weights {path}"
        )
    found, _ = _best_readings(weights, variant)
    if not found:
        raise CheckpointError(
            f"{path} fits no known network: its first keys are {', '.join(list(weights)[:3])}. "
            f"Expected the keys of one of: {', '.join(VARIANTS) if variant is None else variant}"
        )
    if len(names := [reading.variant for reading in found]) > 1:
        raise CheckpointError(
            f"{path} has the keys of {' and of '.join(names)}, which compute differently; say "
            f"which it is: refinenet convert {path} OUT.safetensors --variant {names[0]}"
        )
    (best,) = found
    given = best.table.normalization
    return Recognized(
        best.variant,
        _num_classes(best.weights, best.variant, path),
        best.weights,
        VARIANTS[split_variant(best.variant)[0]].normalization if given is None else given,
    )


def nearest_variant(weights: Weights) -> str | None:
    """A variant that shares the greatest part of these keys of ours, or None."""
    found, _ = _best_readings(weights, None)
    return found[0].variant if found else None


class _Reading(NamedTuple):
    """The keys as one variant's table has them."""

    variant: str
    table: KeyTable
    weights: Weights


def _best_readings(weights: Weights, variant: str | None) -> tuple[list[_Reading], float]:
    """Of every variant, or of this one, the readings that share most of the keys: several if they
    share all, else the first; none if none shares any. And the share of the keys, 0 to 1."""
    best: list[_Reading] = []
    most = 0.0
    for reading in _readings(weights, variant):
        keys = frozenset(key for key in reading.weights if not _is_counter(key))
        expected = _shapes_of(reading.variant).keys()
        share = len(keys & expected) / len(keys | expected)
        if share > most:
            best, most = [reading], share
        elif share == 1 and reading.variant not in [other.variant for other in best]:
            best.append(reading)
    return best, most


def _readings(weights: Weights, variant: str | None) -> Iterator[_Reading]:
    """A source's keys read as the variants that it published; any source's where the variant is
    known: DeepLab-v2's weights for three scales serve one scale too."""
    tables = (OURS, *dict.fromkeys(table for row in VARIANTS.values() for table in row.published))
    read = {table: table.read(weights) for table in tables}
    if variant is not None:
        for table in tables:
            yield _Reading(variant, table, read[table])
        return
    for name, row in VARIANTS.items():
        for table in (OURS, *row.published):
            full_name = join_variant(name, pooling_in(read[table])) if row.chained_pooling else name
            yield _Reading(full_name, table, read[table])


def _is_counter(key: str) -> bool:
    return key.endswith("num_batches_tracked")


@cache
def _shapes_of(variant: str) -> dict[str, torch.Size]:
    with torch.device("meta"):  # shapes without values
        weights = create_model(variant, num_classes=1).state_dict()
    return {key: value.shape for key, value in weights.items() if not _is_counter(key)}


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
