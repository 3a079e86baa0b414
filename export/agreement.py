"""How far one stage's scores and masks are from those of the stage before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refinenet.metrics import ConfusionMatrix
from runtime.frames import Mask

BOUNDARY_PIXELS = 3
TIE = 1e-3  # of the scores' standard deviation

Scores = NDArray[np.float32]  # (C, H, W)


@dataclass(frozen=True)
class Output:
    """What a stage made of one frame. scores: None for an engine, which returns masks alone."""

    mask: Mask
    scores: Scores | None


class Agreement:
    """Accumulates over frames how a stage differs from its reference.

    Scores: the largest and the root-mean-square difference, relative to the standard deviation of
    the reference's scores. Masks: the share of equal pixels, over all, in the band of 3 pixels
    around class borders, in the interior, and per class of the reference. A disagreement counts as
    a tie where the reference's two best scores are nearer to each other than 1e-3 deviations.
    """

    def __init__(self, num_classes: int) -> None:
        self._equal = ConfusionMatrix(num_classes)  # reference against stage
        self._pixels = {"interior": 0, "boundary": 0}
        self._differing = {"interior": 0, "boundary": 0}
        self._ties = 0
        self._squared, self._values, self._largest = 0.0, 0, 0.0
        self._sum, self._sum_of_squares = 0.0, 0.0
        self._finite = True

    def add(self, reference: Output, stage: Output) -> None:
        self._equal.add(reference.mask, stage.mask)
        differs = reference.mask != stage.mask
        boundary = boundary_band(reference.mask)
        for name, region in (("boundary", boundary), ("interior", ~boundary)):
            self._pixels[name] += int(region.sum())
            self._differing[name] += int((differs & region).sum())
        if reference.scores is None or stage.scores is None:
            return
        self._finite &= bool(np.isfinite(stage.scores).all())
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(stage.scores - reference.scores)
            self._squared += float(np.square(error, dtype=np.float64).sum())
            self._largest = max(self._largest, float(error.max()))
        self._sum += float(reference.scores.sum(dtype=np.float64))
        self._sum_of_squares += float(np.square(reference.scores, dtype=np.float64).sum())
        self._values += reference.scores.size
        deviation = float(reference.scores.std())
        self._ties += int((_margin(reference.scores)[differs] < TIE * deviation).sum())

    @property
    def pixels(self) -> float:
        """The share of equal pixels."""
        return 1 - sum(self._differing.values()) / sum(self._pixels.values())

    @property
    def largest_error(self) -> float | None:
        """The largest difference of scores, in standard deviations; None without scores."""
        return self._relative(self._largest)

    @property
    def rms_error(self) -> float | None:
        """The root-mean-square difference of scores, in standard deviations; None without."""
        return self._relative((self._squared / self._values) ** 0.5) if self._values else None

    def report(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """Everything measured, ready for JSON; infinities and NaN become None."""
        iou = self._equal.iou
        return {
            "pixel_agreement": self.pixels,
            "interior_agreement": self._share("interior"),
            "boundary_agreement": self._share("boundary"),
            "differing_pixels": sum(self._differing.values()),
            "of_these_ties": self._ties,
            "scores_largest_error": _finite_or_none(self.largest_error),
            "scores_rms_error": _finite_or_none(self.rms_error),
            "class_agreement_iou": {
                name: _finite_or_none(round(float(value), 6))
                for name, value in zip(classes, iou, strict=True)
            },
        }

    def _share(self, region: str) -> float | None:
        pixels = self._pixels[region]
        return 1 - self._differing[region] / pixels if pixels else None

    def _relative(self, error: float) -> float | None:
        if not self._values:
            return None
        if not self._finite:
            return float("inf")
        variance = self._sum_of_squares / self._values - (self._sum / self._values) ** 2
        return error / variance**0.5 if variance > 0 else (float("inf") if error else 0.0)


def boundary_band(mask: Mask) -> NDArray[np.bool_]:
    """The pixels within 3 of a class border, (H, W)."""
    kernel = np.ones((2 * BOUNDARY_PIXELS + 1,) * 2, np.uint8)
    return np.asarray(cv2.dilate(mask, kernel) != cv2.erode(mask, kernel), np.bool_)


def _margin(scores: Scores) -> NDArray[np.float32]:
    """The distance between the best and the second best score, (H, W)."""
    if len(scores) == 1:
        return np.full(scores.shape[1:], np.inf, np.float32)
    best = np.partition(scores, len(scores) - 2, axis=0)[-2:]
    return np.asarray(best[1] - best[0], np.float32)


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
