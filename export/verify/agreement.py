"""How far one stage's scores and masks are from those of the stage before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refinenet.evaluation.metrics import ConfusionMatrix
from runtime.frames import Mask

BOUNDARY_PIXELS = 3
TIE = 1e-3  # of the scores' standard deviation

Scores = NDArray[np.float32]  # (C, H, W)
Image = NDArray[np.float32]  # (3, H, W), normalized
Region = NDArray[np.bool_]  # (H, W)
REGIONS = ("interior", "boundary", "tie")


@dataclass(frozen=True)
class Output:
    """What a stage made of one frame. scores: None for an engine, which returns masks alone.
    network_input: (3, H, W) normalized, what the network was fed, where that can be seen."""

    mask: Mask
    scores: Scores | None
    network_input: Image | None = None

    @cached_property
    def regions(self) -> dict[str, Region]:
        """Every pixel in one of three: ties, where the two best scores are nearer to each other
        than 1e-3 deviations, so that rounding decides; of the rest the band of 3 pixels around
        class borders, and the interior."""
        boundary = boundary_band(self.mask)
        tie = np.zeros_like(boundary)
        if self.scores is not None:
            with np.errstate(invalid="ignore"):  # scores that overflowed tie nowhere
                tie = _margin(self.scores) < TIE * float(self.scores.std())
        return {"interior": ~boundary & ~tie, "boundary": boundary & ~tie, "tie": tie}


class Agreement:
    """Accumulates over frames how a stage differs from its reference.

    Scores: the largest and the root-mean-square difference, relative to the standard deviation of
    the reference's scores. Masks: the share of equal pixels, over all, in the reference's regions
    (see Output), and per class of the reference. Network input: the largest difference, in
    normalized units (one grey level is about 0.017 where ImageNet's deviations divide it).
    """

    def __init__(self, num_classes: int) -> None:
        self._equal = ConfusionMatrix(num_classes)  # reference against stage
        self._pixels = dict.fromkeys(REGIONS, 0)
        self._differing = dict.fromkeys(REGIONS, 0)
        self._squared, self._values, self._largest = 0.0, 0, 0.0
        self._sum, self._sum_of_squares = 0.0, 0.0
        self._finite = True
        self.input_error: float | None = None
        self.inputs: tuple[Image, Image] | None = None  # of the first frame: reference's, stage's

    def add(self, reference: Output, stage: Output) -> None:
        self._equal.add(reference.mask, stage.mask)
        differs = reference.mask != stage.mask
        for name, region in reference.regions.items():
            self._pixels[name] += int(region.sum())
            self._differing[name] += int((differs & region).sum())
        if reference.scores is not None and stage.scores is not None:
            self._add_scores(reference.scores, stage.scores)
        if reference.network_input is not None and stage.network_input is not None:
            error = np.abs(stage.network_input - reference.network_input).max()
            self.input_error = float(np.maximum(error, self.input_error or 0.0))  # NaN stays
            self.inputs = self.inputs or (reference.network_input, stage.network_input)

    def _add_scores(self, reference: Scores, stage: Scores) -> None:
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(stage - reference)
            self._finite &= bool(np.isfinite(error).all())  # of both: neither may hide a NaN
            self._squared += float(np.square(error, dtype=np.float64).sum())
            self._largest = max(self._largest, float(error.max()))
        self._sum += float(reference.sum(dtype=np.float64))
        self._sum_of_squares += float(np.square(reference, dtype=np.float64).sum())
        self._values += reference.size

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
            "of_these_ties": self._differing["tie"],
            "tied_pixels": self._pixels["tie"],
            "scores_largest_error": _finite_or_none(self.largest_error),
            "scores_rms_error": _finite_or_none(self.rms_error),
            "network_input_error": _finite_or_none(self.input_error),
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


def boundary_band(mask: Mask) -> Region:
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
