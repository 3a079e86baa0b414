"""How well masks agree with labels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.frames import Mask

# Of the image's diagonal: 3 pixels for CamVid, and what the paper takes for Cityscapes.
BOUNDARY_SHARE = 0.005


class ConfusionMatrix:
    """Counts of pixels by (label, prediction), over any number of images."""

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def add(self, label: Mask, mask: Mask) -> None:
        """Count the pixels of one image, both (H, W); labels beyond the classes are ignored.

        Raises InputError if the mask holds an id beyond the classes where the label counts.
        """
        num_classes = len(self.counts)
        counted = label < num_classes
        predicted = mask[counted]
        if predicted.size and predicted.max() >= num_classes:
            raise InputError(
                f"a mask holds the id {predicted.max()}; expected 0 to {num_classes - 1}"
            )
        pairs = label[counted].astype(np.int64) * num_classes + predicted
        self.counts += np.bincount(pairs, minlength=num_classes**2).reshape(self.counts.shape)

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union by class; NaN for a class that is neither there nor predicted."""
        hits = np.diag(self.counts)
        return _share(hits, self.counts.sum(0) + self.counts.sum(1) - hits)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that occur; NaN if none does."""
        return _mean(self.iou)

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of the IoUs weighted by the classes' pixels in the labels; NaN without labels."""
        labelled = self.counts.sum(1)
        occurring = labelled > 0
        if not occurring.any():
            return float("nan")
        return float(np.average(self.iou[occurring], weights=labelled[occurring]))

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """The share of each class's labelled pixels that is right; NaN without such labels."""
        return _share(np.diag(self.counts), self.counts.sum(1))

    @property
    def mean_class_accuracy(self) -> float:
        """Mean over the classes that the labels hold; NaN if they hold none."""
        return _mean(self.class_accuracy)

    @property
    def pixel_accuracy(self) -> float:
        """The share of counted pixels whose prediction is right; NaN if none was counted."""
        total = int(self.counts.sum())
        return float(np.trace(self.counts) / total) if total else float("nan")


class BoundaryIoU:
    """IoU of the bands along the inside of each class's contour, over any number of images.

    Boundary IoU of Cheng, Girshick, Dollár, Berg, Kirillov: Boundary IoU, CVPR 2021, section 4:
    of label and mask, the pixels of a class within `distance` of the class's contour; their
    intersection over their union, pixels summed over the images. The distance is `share` of the
    image's diagonal, at least one pixel.

    Ignored pixels are neither inside nor outside of a class: a border with them is no contour.
    Otherwise every mask would find the labels' own border with them, whatever it predicts.
    """

    def __init__(self, num_classes: int, share: float = BOUNDARY_SHARE) -> None:
        self.share = share
        self._intersection = np.zeros(num_classes, np.int64)
        self._union = np.zeros(num_classes, np.int64)

    def add(self, label: Mask, mask: Mask) -> None:
        """Count the bands of one image, both (H, W); labels beyond the classes are ignored."""
        distance = max(1, round(self.share * float(np.hypot(*label.shape))))
        counted = label < len(self._union)
        for index in np.union1d(label[counted], mask[counted]):
            expected = boundary(label == index, distance, counted)
            found = boundary((mask == index) & counted, distance, counted)
            self._intersection[index] += np.count_nonzero(expected & found)
            self._union[index] += np.count_nonzero(expected | found)

    @property
    def iou(self) -> NDArray[np.float64]:
        """By class; NaN for a class that is neither there nor predicted."""
        return _share(self._intersection, self._union)

    @property
    def mean_iou(self) -> float:
        """Mean over the classes that occur; NaN if none does."""
        return _mean(self.iou)


def boundary(
    region: NDArray[np.bool_], distance: int, counted: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """The pixels of a region from which its outside is at most `distance` pixels away.

    region: (H, W). counted: the pixels that can be outside, (H, W); None for all.
    Diagonal steps count as one, and all beyond the image is outside, as in the paper's reference
    implementation.
    """
    filled = region if counted is None else region | ~counted
    kernel = np.ones((2 * distance + 1,) * 2, np.uint8)
    inner = cv2.erode(
        filled.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(region & (inner == 0), np.bool_)


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """NaN where there is no whole."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _mean(shares: NDArray[np.float64]) -> float:
    """The mean of those that are known; NaN if none is."""
    known = shares[~np.isnan(shares)]
    return float(known.mean()) if known.size else float("nan")
