"""A frame of any size into an engine of one size, or of certain sizes, and its mask back.

The card's resize policy says how:

stretch: the whole frame becomes the engine's size, its proportions change.
letterbox: the proportions stay, and the rest is filled with the mean colour.
"""

from __future__ import annotations

import cv2
import numpy as np

from runtime.card import Card
from runtime.frames import Frame, Mask


def fit(frame: Frame, card: Card) -> Frame:
    """The frame, (H, W, 3), at the size that the file takes; unchanged where it has it already."""
    size = fitting_size((frame.shape[0], frame.shape[1]), card)
    if frame.shape[:2] == size:
        return frame
    if card.resize_policy == "stretch":
        return _resized(frame, size)
    top, left, height, width = _letterbox(frame.shape[:2], size)
    colour = np.round(255 * np.array(card.mean[::-1])).astype(np.uint8)  # BGR
    canvas = np.empty((*size, 3), np.uint8)
    canvas[:] = colour
    canvas[top : top + height, left : left + width] = _resized(frame, (height, width))
    return canvas


def fitting_size(frame_size: tuple[int, int], card: Card) -> tuple[int, int]:
    """(height, width) that a frame of this size goes in at: the card's frame size, or where any
    goes in, the frame's own, rounded up to what both sides must be multiples of."""
    height, width = (-(-side // card.size_multiple) * card.size_multiple for side in frame_size)
    return card.frame_size or (height, width)


def restore(mask: Mask, frame_size: tuple[int, int], card: Card) -> Mask:
    """The mask of a fitted frame, (H', W'), at the frame's own size, by nearest."""
    if mask.shape == frame_size:
        return mask
    if card.resize_policy == "letterbox":
        top, left, height, width = _letterbox(frame_size, mask.shape[:2])
        mask = mask[top : top + height, left : left + width]
    height, width = frame_size
    # EXACT: plain INTER_NEAREST samples half a pixel off from where the frame was resized.
    restored = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(restored, np.uint8)


def _resized(frame: Frame, size: tuple[int, int]) -> Frame:
    height, width = size
    # Averaging where pixels are merged, so that thin things do not vanish by chance.
    shrinks = height * width < frame.shape[0] * frame.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (width, height), interpolation=method), np.uint8)


def _letterbox(inner: tuple[int, int], outer: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of the frame inside the canvas."""
    scale = min(outer[0] / inner[0], outer[1] / inner[1])
    height, width = (max(1, round(side * scale)) for side in inner)
    return (outer[0] - height) // 2, (outer[1] - width) // 2, height, width
