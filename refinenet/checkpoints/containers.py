"""The weights inside a checkpoint: found in its containers, and freed of wrappers' prefixes.

A checkpoint may hold several sets of weights, such as averaged ones beside the raw ones. One is
taken by itself only where nothing else could be meant; otherwise it is said which, and
--weights-key takes another.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refinenet.renaming import Weights
from runtime.arguments import printable
from runtime.errors import CheckpointError

DEEPEST = 4  # containers within containers
# Names of trainings' own weights, before any other set of weights in a checkpoint.
FIRST = ("segmenter", "state_dict", "model_state_dict", "model", "network", "net", "weights")
AVERAGED = re.compile(r"ema|swa|average|avg|teacher|shadow", re.IGNORECASE)
# What optimizers and schedulers keep: tensors, but no weights.
OTHERS = re.compile(r"optim|sched|scaler|rng|momentum|loss|criterion|metric", re.IGNORECASE)
# Wrappers put them before or between the names of a network's parts.
WRAPPERS = ("_orig_mod.", "module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
BESIDE_WEIGHTS = ("mask_values",)  # U-Net's, which says the grey levels of its training's masks
COUNTERS = ("num_batches_tracked", "n_averaged")  # no values that a network computes with


def weights_in(content: Any, path: Path, weights_key: str | None = None) -> Weights:
    """The tensors by key in what a checkpoint file holds.

    weights_key: which of its sets of weights, by the names of the containers with dots between
    them, or by the prefix that the keys of one set have in common.

    Raises CheckpointError if there are none, or none under weights_key.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a state_dict")
    sets = dict(_sets(content))
    if weights_key is not None:
        return _chosen(sets, weights_key, path)
    if not sets:
        raise CheckpointError(
            f"{path} is not a state_dict: {_stranger(content)} in it is no "
            "tensor of plain numbers. Save the model's state_dict alone"
        )
    name = min(sets, key=lambda name: _rank(name, len(sets[name])))
    others = [other for other in sets if other != name and _alike(sets[other], sets[name])]
    if others:
        _say(
            f"{path} holds {len(others) + 1} sets of weights; '{name}' was taken. "
            f"refinenet convert --weights-key {others[0]} takes another"
            + (f" (also: {', '.join(others[1:])})" if others[1:] else "")
        )
    return sets[name]


def _stranger(content: Mapping[Any, Any], depth: int = 0) -> str:
    """The key of what keeps a checkpoint from being weights, in its likeliest container."""
    for name in FIRST:
        if isinstance(content.get(name), Mapping) and depth < DEEPEST:
            return _stranger(content[name], depth + 1)
    return str(next((key for key, value in content.items() if not is_plain(value)), "nothing"))


def is_plain(value: Any) -> bool:
    """Whether it is a tensor with a real number in every place."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and not (value.is_complex() or value.is_quantized or value.is_meta)
    )


def _sets(
    content: Mapping[Any, Any], name: str = "", depth: int = 0
) -> Iterator[tuple[str, Weights]]:
    """Every mapping that holds nothing but tensors, by the names that lead to it."""
    content = {key: value for key, value in content.items() if key not in BESIDE_WEIGHTS}
    if content and all(is_plain(value) for value in content.values()):
        yield name, {str(key): value for key, value in content.items()}
        return
    if depth == DEEPEST:
        return
    for key, value in content.items():
        if isinstance(value, Mapping) and not OTHERS.search(str(key)):
            yield from _sets(value, f"{name}.{key}" if name else str(key), depth + 1)


def _rank(name: str, size: int) -> tuple[int, int, int]:
    """Raw weights before averaged ones, usual names before others, the larger set before others."""
    last = name.rpartition(".")[2]
    place = FIRST.index(last) if last in FIRST else len(FIRST)
    return (1 if AVERAGED.search(name) else 0), place, -size


def _alike(one: Weights, other: Weights) -> bool:
    """Whether two sets could be weights of the same network."""
    return sorted(tuple(v.shape) for v in one.values() if v.ndim > 1) == sorted(
        tuple(v.shape) for v in other.values() if v.ndim > 1
    )


def _chosen(sets: Mapping[str, Weights], weights_key: str, path: Path) -> Weights:
    if weights_key in sets:
        return sets[weights_key]
    # A container's last name will do where it is the only one.
    named = [name for name in sets if name.rpartition(".")[2] == weights_key]
    if len(named) == 1:
        return sets[named[0]]
    for weights in sets.values():
        prefix = f"{weights_key}."
        if part := {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}:
            return part
    names = [name or "the file itself" for name in sets]
    prefixes = sorted({key.partition(".")[0] for weights in sets.values() for key in weights})
    raise CheckpointError(
        f"{path} holds no weights under '{weights_key}'; it holds {', '.join(names) or 'none'}, "
        f"with keys that begin with {', '.join(prefixes[:8])}"
    )


def readings(weights: Weights) -> list[tuple[str, Weights]]:
    """The weights under the keys that they may have had before wrappers added to them, each with
    the prefix that was cut: as they are; without what all keys begin with; without wrappers'
    names; and each larger part with a prefix of its own, as a training module holds its network."""
    found = [("", weights)]
    bare = {_without_wrappers(key): value for key, value in weights.items()}
    for reading in (weights, bare):
        cut = ""
        while (prefix := _common_prefix(reading)) is not None:
            cut += prefix
            reading = {key.removeprefix(prefix): value for key, value in reading.items()}
            found.append((cut, reading))
    found.append(("", bare))
    for reading in (weights, bare):
        for prefix in dict.fromkeys(f"{key.partition('.')[0]}." for key in reading if "." in key):
            part = {k.removeprefix(prefix): v for k, v in reading.items() if k.startswith(prefix)}
            if SMALLEST_PART * len(weights) < len(part) < len(weights):
                found.append((prefix, part))
    return found


SMALLEST_PART = 0.2  # of the keys; a network, its average and a teacher are a third each


def _without_wrappers(key: str) -> str:
    parts = [f"{part}." for part in key.split(".")]
    return "".join(part for part in parts if part not in WRAPPERS).removesuffix(".")


def _common_prefix(weights: Weights) -> str | None:
    keys = [key for key in weights if not key.endswith(COUNTERS[1])]
    prefixes = {key.partition(".")[0] for key in keys}
    return f"{prefixes.pop()}." if len(prefixes) == 1 and all("." in key for key in keys) else None


def fitting(
    weights: Weights, expected: Mapping[str, Tensor], path: Path, weights_key: str | None = None
) -> Weights:
    """The reading of the keys that a network with these keys takes; where none fits whole, the one
    that shares most, for the message that follows.

    weights_key: given, so that nothing is said of other sets of weights.
    """
    wanted = counted(expected)

    def fits(part: Weights) -> bool:
        return counted(part) == wanted and all(part[k].shape == expected[k].shape for k in wanted)

    found = [(prefix, part) for prefix, part in readings(weights) if fits(part)]
    if not found:
        return max(readings(weights), key=lambda entry: len(counted(entry[1]) & wanted))[1]
    best = first_of(weights, found, path, quiet=weights_key is not None)
    return {key: value for key, value in best.items() if key in expected}


def counted(weights: Mapping[str, Tensor]) -> frozenset[str]:
    """The keys of values that a network computes with."""
    return frozenset(key for key in weights if not key.endswith(COUNTERS))


def first_of(
    weights: Weights, found: list[tuple[str, Weights]], path: Path, *, quiet: bool = False
) -> Weights:
    """Of several readings that fit, the one that is not averaged; say what was not taken."""
    prefix, best = min(found, key=lambda entry: bool(AVERAGED.search(entry[0])))
    others = {name: part for name, part in found if _values(part) != _values(best)}
    if others and not quiet:
        _say(
            f"{path} holds several sets of weights; '{prefix.rstrip('.')}' was taken. "
            f"refinenet convert --weights-key {next(iter(others)).rstrip('.')} takes another"
        )
    known = _values(best).union(*map(_values, others.values()))
    left = [key for key in counted(weights) if id(weights[key]) not in known]
    if left and not quiet:
        _say(f"{path}: {len(left)} tensors of no network were left out, such as {min(left)}")
    return best


def _values(weights: Weights) -> frozenset[int]:
    return frozenset(id(weights[key]) for key in counted(weights))


@cache
def _say(text: str) -> None:
    """Once a process: a file is read several times on the way."""
    print(f"note: {printable(text)}", file=sys.stderr)
