"""Whether a backend still sees what PyTorch FP32 sees, and how well that fits the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.backends.backend import Backend
from benchmarks.images import Sample
from benchmarks.records.measurements import Accuracy, Agreement
from refinenet.evaluation.metrics import ConfusionMatrix
from runtime.card import Card
from runtime.errors import DeviceError
from runtime.frames import Frame, Mask
from runtime.resize import restore


@dataclass(frozen=True)
class Judged:
    """A backend whose masks are judged.

    batch: frames that every call of it must have; None for any number.
    """

    backend: Backend
    batch: int | None = None


@dataclass
class _Tally:
    """What one backend got right so far, or the error that took it away."""

    matrix: ConfusionMatrix
    equal_pixels: int = 0
    compared_pixels: int = 0
    labelled: bool = False
    error: Exception | None = None


def judge(
    judged: Sequence[Judged],
    reference: int | None,
    samples: Iterable[Sample],
    geometry: Card,
    after_sample: Callable[[], object] = lambda: None,
) -> list[Accuracy | Exception]:
    """Hold every backend's masks against the reference's, and against the labels.

    reference: the index of the backend that the others must agree with, or None.
    samples: at least one. geometry: with the size that they have, and how they got there.

    Returns each backend's accuracy, or the error that took it away. Where that is the reference,
    nothing was compared, and the others have no agreement.
    """
    tallies = [_Tally(ConfusionMatrix(len(geometry.classes))) for _ in judged]
    order = sorted(range(len(judged)), key=lambda index: index != reference)  # it comes first
    for sample in samples:
        expected: Mask | None = None
        for index in order:
            tally = tallies[index]
            if tally.error is not None:
                continue
            try:
                mask = mask_of(judged[index], sample.frame)
                if index == reference:
                    expected = mask
                _count(tally, mask, sample, expected if sample.compared else None, geometry)
            except Exception as error:
                tally.error = error
        after_sample()
    compared = reference is not None and tallies[reference].error is None
    return [_accuracy(t, compared and i != reference, geometry) for i, t in enumerate(tallies)]


def _count(
    tally: _Tally, mask: Mask, sample: Sample, expected: Mask | None, geometry: Card
) -> None:
    if expected is not None:
        tally.equal_pixels += int(np.count_nonzero(mask == expected))
        tally.compared_pixels += expected.size
    if sample.label is not None:
        tally.labelled = True
        size = (sample.label.shape[0], sample.label.shape[1])
        tally.matrix.add(sample.label, restore(mask, size, geometry))


def _accuracy(tally: _Tally, compared: bool, geometry: Card) -> Accuracy | Exception:
    if tally.error is not None:
        return tally.error
    assert geometry.frame_size is not None
    ious = [None if np.isnan(iou) else float(iou) for iou in tally.matrix.iou]
    known = [iou for iou in ious if iou is not None]
    return Accuracy(
        *geometry.frame_size,
        agreement=(
            Agreement(tally.equal_pixels, tally.compared_pixels)
            if compared and tally.compared_pixels
            else None
        ),
        mean_iou=float(np.mean(known)) if known else None,
        class_iou=tuple(ious) if tally.labelled else (),
    )


def mask_of(judged: Judged, frame: Frame) -> Mask:
    """The mask of one frame, (H, W, 3) to (H, W); DeviceError if it has another shape."""
    frames = np.repeat(frame[np.newaxis], judged.batch or 1, axis=0)
    masks = judged.backend(frames)
    if masks.shape != frames.shape[:3]:
        raise DeviceError(
            f"{judged.backend.description} returned masks of shape {masks.shape}; expected "
            f"{frames.shape[:3]}. Export the model anew"
        )
    mask: Mask = masks[0]
    return mask
