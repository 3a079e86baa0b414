"""Whether a backend still sees what PyTorch FP32 sees, and how well that fits the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from benchmarks.backends import Backend
from benchmarks.record import Agreement
from refinenet.data.datasets import LabelledImages
from refinenet.metrics import ConfusionMatrix
from runtime.card import Card
from runtime.errors import DeviceError
from runtime.frames import Frame, Mask
from runtime.resize import fit, restore


def agreement_with(
    reference: Backend,
    backends: Sequence[Backend],
    frames: Iterable[Frame],
    after_frame: Callable[[], object] = lambda: None,
) -> list[Agreement]:
    """The share of pixels to which each backend gives the reference's class.

    frames: at least one, (H, W, 3) uint8 BGR, at the model's size.

    Raises DeviceError if a backend returns a mask of another shape.
    """
    equal_pixels, pixels = [0] * len(backends), 0
    for frame in frames:
        expected = _mask_of(reference, frame)
        pixels += expected.size
        for index, backend in enumerate(backends):
            equal_pixels[index] += int(np.count_nonzero(_mask_of(backend, frame) == expected))
        after_frame()
    return [Agreement(equal, pixels) for equal in equal_pixels]


def mean_ious(
    backends: Sequence[Backend],
    labelled: LabelledImages,
    geometry: Card,
    after_image: Callable[[], object] = lambda: None,
) -> list[float | None]:
    """Each backend's mIoU, 0 to 1, its masks brought back to the size of the labels.

    geometry: the size that the backends take, and how a frame gets there.

    Returns None where no class occurs in the labels: JSON has no NaN.
    """
    matrices = [ConfusionMatrix(len(labelled.dataset.classes)) for _ in backends]
    for index in range(len(labelled)):
        frame, label = labelled.read(index)
        for backend, matrix in zip(backends, matrices, strict=True):
            mask = restore(_mask_of(backend, fit(frame, geometry)), frame.shape[:2], geometry)
            matrix.add(label, mask)
        after_image()
    return [None if np.isnan(m.mean_iou) else m.mean_iou for m in matrices]


def _mask_of(backend: Backend, frame: Frame) -> Mask:
    """The mask of one frame, (H, W, 3) to (H, W); DeviceError if it has another shape."""
    masks = backend(frame[np.newaxis])
    if masks.shape != (1, *frame.shape[:2]):
        raise DeviceError(
            f"{backend.description} returned masks of shape {masks.shape} for one frame; expected "
            f"{(1, *frame.shape[:2])}. Export the model anew"
        )
    mask: Mask = masks[0]
    return mask
