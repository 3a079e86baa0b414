"""A file that stands for an engine, with the sidecar that refinenet build writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiny_models import CARD

from runtime.card import write_sidecar

Shape = tuple[int, int, int]


def write_engine(
    path: Path,
    profile: Sequence[Shape],
    shape: Sequence[int | None] = (None, None, None, 3),
    **build: Any,
) -> Path:
    """profile: smallest, tuned and largest (N, H, W). build: further entries of the sidecar."""
    path.write_bytes(b"stands for an engine")
    entries = {"package": "tensorrt", "version": "10.13.3.9", "profile": list(profile), **build}
    write_sidecar(path, replace(CARD, input_shape=tuple(shape)), entries)
    return path
