"""Masks for the eye: colours over the frame, and PNG files whose palette shows the classes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.files import written_whole
from runtime.frames import Frame, Mask

Palette = Sequence[tuple[int, int, int]]  # (red, green, blue), 0 to 255, by class id

OPACITY = 0.5
FONT = cv2.FONT_HERSHEY_SIMPLEX


def colour(mask: Mask, palette: Palette) -> Frame:
    """The mask, (H, W) uint8, in its classes' colours: (H, W, 3) uint8 BGR.

    Ids beyond the palette are black.
    """
    bgr = np.ascontiguousarray(_table(palette)[:, ::-1]).reshape(256, 1, 3)
    return np.asarray(cv2.applyColorMap(mask, bgr), np.uint8)


def blend(frame: Frame, mask: Mask, palette: Palette, opacity: float = OPACITY) -> Frame:
    """The colours of the mask, (H, W) uint8, laid over the frame, (H, W, 3) uint8 BGR.

    opacity: 0 shows the frame alone, 1 the colours alone.
    """
    blended = cv2.addWeighted(frame, 1 - opacity, colour(mask, palette), opacity, 0)
    return np.asarray(blended, np.uint8)


@dataclass(frozen=True)
class Look:
    """overlay: the classes' colours over the frame, not alone.
    legend: the classes' names and colours in the picture.
    side_by_side: the frame itself to the left of it.
    """

    overlay: bool = False
    legend: bool = False
    side_by_side: bool = False


def picture(
    frame: Frame, mask: Mask, classes: Sequence[str], palette: Palette, look: Look
) -> Frame:
    """The frame and its mask for the eye: (H, W, 3) uint8 BGR, (H, 2 * W, 3) if side by side.

    frame: (H, W, 3) uint8 BGR. mask: (H, W) uint8.
    """
    shown = blend(frame, mask, palette) if look.overlay else colour(mask, palette)
    if look.legend:
        draw_legend(shown, classes, palette)
    return np.hstack((frame, shown)) if look.side_by_side else shown


def draw_legend(picture: Frame, classes: Sequence[str], palette: Palette) -> None:
    """Write the classes and their colours into the picture, (H, W, 3) uint8 BGR, from the left."""
    height = picture.shape[0]
    row = max(12, min(height // 20, 32))
    rows = max(1, height // row)
    scale = row / 32
    width = row + max(cv2.getTextSize(name, FONT, scale, 1)[0][0] for name in classes) + row // 2
    for index, (name, (red, green, blue)) in enumerate(zip(classes, palette, strict=True)):
        left, top = index // rows * width, index % rows * row
        cv2.rectangle(picture, (left, top), (left + width, top + row), (0, 0, 0), cv2.FILLED)
        box = (left + 2, top + 2), (left + row - 3, top + row - 3)
        cv2.rectangle(picture, *box, (blue, green, red), cv2.FILLED)
        place = (left + row, top + round(row * 0.7))
        cv2.putText(picture, name, place, FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)


def write_picture(path: Path, picture: Frame) -> None:
    """Write a picture, (H, W, 3) uint8 BGR, as PNG; InputError if it cannot be written."""
    _, data = cv2.imencode(".png", picture)
    with written_whole(path) as temporary:
        temporary.write_bytes(data.tobytes())


def write_mask(path: Path, mask: Mask, palette: Palette) -> None:
    """Write a mask, (H, W) uint8, as a PNG of 8 bits whose pixels are the class ids.

    Viewers show it in the palette's colours; Pillow reads the ids with np.asarray(Image.open(…)).

    Raises InputError if the file cannot be written.
    """
    with written_whole(path) as temporary:
        temporary.write_bytes(_indexed_png(mask, palette))


def _indexed_png(mask: Mask, palette: Palette) -> bytes:
    """PNG, third edition, sections 5 and 11: OpenCV writes no palette, so it is written here."""
    height, width = mask.shape
    # 8 bits per pixel, colour type 3 (palette), and no compression, filter or interlace options.
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    rows = np.zeros((height, 1 + width), np.uint8)  # each begins with its filter: 0, none
    rows[:, 1:] = mask
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", _table(palette).tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes())),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def _table(palette: Palette) -> NDArray[np.uint8]:
    """(256, 3) uint8 RGB; black where the palette ends."""
    if not 1 <= len(palette) <= 256:
        raise InputError(f"a palette of {len(palette)} colours; expected 1 to 256")
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return table
