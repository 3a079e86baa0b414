"""Small images and labels, written wherever a dataset keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

_DISTINCT = count()


def write_image(path: Path, size: tuple[int, int]) -> None:
    """An image of one colour, (height, width), unlike every other that was written."""
    number = next(_DISTINCT)
    # Steps of 16, which a JPEG keeps apart.
    colour = [number // 16**channel % 16 * 16 for channel in range(3)]
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), colour, np.uint8))


def write_label(path: Path, rows: Sequence[Sequence[int]], mode: str = "L") -> None:
    """A label that holds these ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype = np.uint16 if mode == "I;16" else np.uint8
    label = Image.fromarray(np.asarray(rows, dtype))
    if mode == "P":
        label.putpalette([channel for i in range(256) for channel in (i, 255 - i, 0)])
    label.save(path)


def write_pair(image: Path, label: Path, rows: Sequence[Sequence[int]]) -> None:
    write_image(image, (len(rows), len(rows[0])))
    write_label(label, rows)
