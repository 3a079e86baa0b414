"""The weights of a state_dict under other keys, by a table of patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

Weights = Mapping[str, Tensor]
# Rows of (pattern of the given key, the new key); a pattern matches a whole key.
Rename = tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]


def renamed(weights: Weights, table: Rename) -> Weights:
    """The weights under their new keys; a key that no row matches keeps its name."""
    result = {}
    for key, value in weights.items():
        new_key = key
        for pattern, replacement in table:
            if match := re.fullmatch(pattern, key):
                new_key = (
                    match.expand(replacement)
                    if isinstance(replacement, str)
                    else replacement(match)
                )
                break
        result[new_key] = value
    return result
