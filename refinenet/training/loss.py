"""The loss of a training: cross entropy over the labelled pixels of a global batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from refinenet.data.datasets import LabelledImages
from refinenet.training.recipes.recipe import ClassWeights


@dataclass(frozen=True)
class PixelLoss:
    """Weighted cross entropy as a sum and a total weight, since parts of a batch must add up.

    The mean over a batch is the sum of all parts' losses over the sum of all parts' weights. The
    mean of the parts' own means is another number as soon as they ignore unequally many pixels.

    weights: of the classes, (C,) float32. ignore_id: the label that counts nowhere.
    score_size: (h, w) of the scores of a sample, where labels are sampled at the scores; None
    where scores are upsampled to the labels.
    """

    weights: Tensor
    ignore_id: int
    score_size: tuple[int, int] | None = None

    def targets(self, labels: Tensor) -> Tensor:
        """The labels, (N, H, W) integers, where the loss is taken: (N, H, W) or (N, h, w) int64."""
        if self.score_size is None:
            return labels.long()
        # Through float32, which holds ids exactly; nearest-exact samples where bilinear would.
        sampled = F.interpolate(labels[:, None].float(), self.score_size, mode="nearest-exact")
        return sampled[:, 0].long()

    def weight(self, targets: Tensor) -> Tensor:
        """The total weight of the pixels that count, a float64 scalar on the targets' device.

        By a table of all ids: counts, or the labelled pixels alone, would have a size that the
        host must wait for.
        """
        return self._weight_of_id[targets].sum(dtype=torch.float64)

    @cached_property
    def _weight_of_id(self) -> Tensor:
        table = self.weights.new_zeros(256)
        table[: len(self.weights)] = self.weights
        table[self.ignore_id] = 0
        return table

    def summed(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The summed loss, a float32 scalar.

        scores: (N, C, h, w), any floating-point type. targets: as from targets().
        """
        scores = scores.float()
        if self.score_size is None:
            scores = F.interpolate(scores, targets.shape[-2:], mode="bilinear")
        # One row per pixel: CUDA has no deterministic kernel for the loss of (N, C, H, W).
        rows = scores.permute(0, 2, 3, 1).flatten(0, 2)
        return F.cross_entropy(
            rows, targets.flatten(), self.weights, ignore_index=self.ignore_id, reduction="sum"
        )


def label_counts(images: LabelledImages) -> list[int]:
    """How many pixels of the labels have each id, 0 to 255; reads every image and label."""
    counts = np.zeros(256, np.int64)
    for index in range(len(images)):
        counts += np.bincount(images.read(index)[1].ravel(), minlength=256)
    return [int(count) for count in counts]


def class_weights(counts: Sequence[int], num_classes: int, kind: ClassWeights) -> Tensor:
    """The loss weight of every class, (C,) float32.

    counts: of the labels' pixels by id, as from label_counts.

    median: median frequency balancing, as Eigen & Fergus (ICCV 2015) and SegNet do it, but with a
    class's frequency taken over all images, not over those alone that show it.
    """
    if kind == "none":
        return torch.ones(num_classes)
    pixels = np.array(counts, np.float64)
    frequency: NDArray[np.float64] = pixels[:num_classes] / pixels.sum()
    occurring = frequency > 0
    weights = np.ones_like(frequency)
    if occurring.any():  # or the median would be that of nothing
        ratio = np.median(frequency[occurring]) / frequency[occurring]
        weights[occurring] = np.sqrt(ratio) if kind == "sqrt" else ratio
    return torch.from_numpy(weights).float()
