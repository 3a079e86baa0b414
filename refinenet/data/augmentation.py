"""From a frame and its label to a training sample: scale, crop, flip, colour."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

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
    frame, label = _resized(frame, label, scale)
    rows, target_rows = _random_overlap(label.shape[0], options.crop, rng)
    columns, target_columns = _random_overlap(label.shape[1], options.crop, rng)
    step = -1 if rng.random() < options.flip else 1
    # Colours change before the padding is added: the padding stays the mean colour, and does not
    # count in the mean that the contrast turns about.
    cut = _jitter(frame[rows, columns], options.colour, rng)
    mean_bgr = np.round(255 * np.array(normalization.mean[::-1])).astype(np.uint8)
    sample = np.full((options.crop, options.crop, 3), mean_bgr, np.uint8)
    sample_label = np.full((options.crop, options.crop), ignore_id, np.uint8)
    sample[target_rows, target_columns] = cut
    sample_label[target_rows, target_columns] = label[rows, columns]
    return (
        np.ascontiguousarray(sample[:, ::step]),
        np.ascontiguousarray(sample_label[:, ::step]),
    )


def _resized(frame: Frame, label: Mask, scale: float) -> tuple[Frame, Mask]:
    """Both at one size, so that both are sampled on one grid.

    The size is given to OpenCV, never the scale: from a scale it takes a grid whose last pixel is
    not the image's last one.
    """
    height, width = (max(1, round(scale * side)) for side in label.shape)
    frame = np.asarray(cv2.resize(frame, (width, height)), np.uint8)
    # EXACT: plain INTER_NEAREST samples half a pixel off from the frame's bilinear grid.
    return frame, cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


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
