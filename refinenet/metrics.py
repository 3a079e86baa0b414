"""How well masks agree with labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.frames import Mask


class ConfusionMatrix:
    """Counts of pixels by (label, prediction), over any number of images."""

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def add(self, label: Mask, mask: Mask) -> None:
        """Count the pixels of one image, both (H, W); ids beyond the classes are ignored."""
        num_classes = len(self.counts)
        counted = label < num_classes
        pairs = label[counted].astype(np.int64) * num_classes + mask[counted]
        self.counts += np.bincount(pairs, minlength=num_classes**2).reshape(self.counts.shape)

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union by class; NaN for a class that is neither there nor predicted."""
        hits = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.where(union > 0, hits / np.maximum(union, 1), np.nan)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that occur; NaN if none does."""
        occurring = self.iou[~np.isnan(self.iou)]
        return float(occurring.mean()) if occurring.size else float("nan")

    @property
    def pixel_accuracy(self) -> float:
        """The share of counted pixels whose prediction is right; NaN if none was counted."""
        total = int(self.counts.sum())
        return float(np.trace(self.counts) / total) if total else float("nan")
