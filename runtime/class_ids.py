"""Class ids of files that are not ours, against the classes that their cards name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from runtime.errors import InputError


def check_ids(ids: NDArray[Any], num_classes: int, path: Path) -> None:
    """InputError for an id that is no class of the card's; path: of the file that gave it."""
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    if low < 0 or high >= num_classes:
        raise InputError(
            f"{path} gave the id {low if low < 0 else high}, and its card names {num_classes} "
            f"classes, 0 to {num_classes - 1}; name every class in the card"
        )
