"""From a frame and its label to a training sample: scale, crop, flip, colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.frames import Frame, Mask
from runtime.normalization import Normalization


@dataclass(frozen=True)
class Augmentation:
    """crop: side of the square crop, pixels. scales: range of the random scale. shorter_side: the
    least that it may leave of the image's shorter side, pixels; 0 for no such limit. flip: how
    often the sample is mirrored, 0 to 1. colour: largest relative change of brightness, contrast
    and saturation."""

    crop: int = 320
    scales: tuple[float, float] = (0.5, 2.0)
    shorter_side: int = 0
    flip: float = 0.5
    colour: float = 0.3

    def __post_init__(self) -> None:
        low, high = self.scales
        if not 0.1 <= low <= high <= 10:
            raise InputError(f"scales {low} to {high}; expected a range within 0.1 to 10")
        for name in ("flip", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected 0 to 1")


def augment(
    frame: Frame,
    label: Mask,
    ignore_id: int,
    normalization: Normalization,
    options: Augmentation,
    rng: np.random.Generator,
) -> tuple[Frame, Mask]:
    """A random square cut-out, (crop, crop, 3) uint8 BGR and (crop, crop); what lies outside the
    image has the mean colour of the normalization and the ignore id."""
    scale = float(np.exp(rng.uniform(*np.log(options.scales))))
    scale = max(scale, options.shorter_side / min(label.shape))
    frame = np.asarray(cv2.resize(frame, None, fx=scale, fy=scale), np.uint8)
    height, width = frame.shape[:2]
    # EXACT: plain INTER_NEAREST samples half a pixel off from the frame's bilinear grid.
    label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    mean_bgr = np.round(255 * np.array(normalization.mean[::-1])).astype(np.uint8)
    frame, label = _random_crop(frame, label, mean_bgr, ignore_id, options.crop, rng)
    if rng.random() < options.flip:
        frame, label = frame[:, ::-1], label[:, ::-1]
    return _jitter(frame, options.colour, rng), np.ascontiguousarray(label)


def _random_crop(
    frame: Frame,
    label: Mask,
    colour: NDArray[np.uint8],
    ignore_id: int,
    crop: int,
    rng: np.random.Generator,
) -> tuple[Frame, Mask]:
    height, width = label.shape
    cut_frame = np.full((crop, crop, 3), colour, np.uint8)
    cut_label = np.full((crop, crop), ignore_id, np.uint8)
    source_y, target_y = _random_overlap(height, crop, rng)
    source_x, target_x = _random_overlap(width, crop, rng)
    cut_frame[target_y, target_x] = frame[source_y, source_x]
    cut_label[target_y, target_x] = label[source_y, source_x]
    return cut_frame, cut_label


def _random_overlap(size: int, crop: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """Where a line of `size` pixels and a random window of `crop` meet, in either's coordinates."""
    offset = int(rng.integers(min(0, size - crop), max(0, size - crop) + 1))
    start, length = max(offset, 0), min(size, crop)
    return slice(start, start + length), slice(start - offset, start - offset + length)


def _jitter(frame: Frame, amount: float, rng: np.random.Generator) -> Frame:
    brightness, contrast, saturation = 1 + amount * rng.uniform(-1, 1, 3)
    image = frame.astype(np.float32) * np.float32(brightness)
    mean = image.mean()
    image = mean + (image - mean) * np.float32(contrast)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + (image - grey) * np.float32(saturation)
    return np.asarray(np.clip(np.rint(image), 0, 255), np.uint8)
