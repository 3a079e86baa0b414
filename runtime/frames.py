"""Frames in memory: (H, W, 3) uint8 in OpenCV's BGR order."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.files import existing_file, existing_folder

Frame = NDArray[np.uint8]  # (H, W, 3) BGR
Mask = NDArray[np.uint8]  # (H, W) class ids

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def read_frame(path: str | Path) -> Frame:
    """Read an image as (H, W, 3) uint8 BGR: grey becomes colour, alpha is dropped, 16 bits become
    8, and the EXIF orientation is applied. InputError if it is no image."""
    path = existing_file(path)
    try:
        frame = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f"{path} cannot be decoded: {error.err}") from error
    if frame is None:
        raise InputError(f"{path} is not an image that OpenCV can read, or is cut short")
    return np.asarray(frame, np.uint8)


def list_images(folder: str | Path) -> list[Path]:
    """The images of a folder and of those below it, by name; InputError if there are none."""
    folder = existing_folder(folder)
    images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_ENDINGS)
    if not images:
        raise InputError(f"{folder} holds no image ({', '.join(IMAGE_ENDINGS)})")
    return images
