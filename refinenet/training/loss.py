"""The loss of a training: cross entropy over the labelled pixels of a global batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from refinenet.data.datasets import LabelledImages
from refinenet.training.recipe import ClassWeights


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
        """The labels, (N, H, W) int64, where the loss is taken: (N, H, W) or (N, h, w)."""
        if self.score_size is None:
            return labels
        # Through float32, which holds ids exactly; nearest-exact samples where bilinear would.
        sampled = F.interpolate(labels[:, None].float(), self.score_size, mode="nearest-exact")
        return sampled[:, 0].long()

    def weight(self, targets: Tensor) -> float:
        """The total weight of the pixels that count."""
        labelled = targets[targets != self.ignore_id]
        counts = torch.bincount(labelled, minlength=len(self.weights))
        return float(counts.double() @ self.weights.to(targets.device).double())

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


def class_weights(images: LabelledImages, kind: ClassWeights) -> Tensor:
    """The loss weight of every class, (C,) float32; all but none read every label once.

    median: median frequency balancing, as Eigen & Fergus (ICCV 2015) and SegNet do it, but with a
    class's frequency taken over all images, not over those alone that show it.
    """
    num_classes = len(images.dataset.classes)
    if kind == "none":
        return torch.ones(num_classes)
    counts = np.zeros(256, np.int64)
    for index in range(len(images)):
        counts += np.bincount(images.read(index)[1].ravel(), minlength=256)
    frequency: NDArray[np.float64] = counts[:num_classes] / counts.sum()
    occurring = frequency > 0
    weights = np.ones_like(frequency)
    if occurring.any():  # or the median would be that of nothing
        ratio = np.median(frequency[occurring]) / frequency[occurring]
        weights[occurring] = np.sqrt(ratio) if kind == "sqrt" else ratio
    return torch.from_numpy(weights).float()
