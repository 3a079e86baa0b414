"""The loss is a mean over the labelled pixels of the whole batch, however the batch is cut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from refinenet.training.loss import PixelLoss
from refinenet.variants import score_size

IGNORE = 255
WEIGHTS = torch.tensor([0.5, 1.0, 3.0])


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Scores at stride 4 and labels; the second image has few labels, the fourth none."""
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 3, 8, 8, generator=random)
    labels = torch.randint(0, 3, (4, 32, 32), generator=random)
    labels[1, 3:] = IGNORE
    labels[3] = IGNORE
    return scores, labels


def mean_over_parts(scores: Tensor, labels: Tensor, loss: PixelLoss, parts: int) -> float:
    """As a training with so many processes or accumulated parts adds it up."""
    targets = loss.targets(labels)
    total = sum(float(loss.weight(part)) for part in targets.chunk(parts))
    pairs = zip(scores.chunk(parts), targets.chunk(parts), strict=True)
    return sum(float(loss.summed(part, target)) for part, target in pairs) / total


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_parts_of_a_batch_add_up_to_the_whole(parts: int, batch: tuple[Tensor, Tensor]) -> None:
    scores, labels = batch
    upsampled = F.interpolate(scores, (32, 32), mode="bilinear")
    expected = F.cross_entropy(upsampled, labels, WEIGHTS, ignore_index=IGNORE).item()
    loss = PixelLoss(WEIGHTS, IGNORE)
    assert mean_over_parts(scores, labels, loss, parts) == pytest.approx(expected, rel=1e-6)


def test_the_mean_of_the_parts_means_is_another_number(batch: tuple[Tensor, Tensor]) -> None:
    scores, labels = batch[0][:2], batch[1][:2]
    loss = PixelLoss(WEIGHTS, IGNORE)
    whole = mean_over_parts(scores, labels, loss, 2)
    each = [mean_over_parts(scores[i : i + 1], labels[i : i + 1], loss, 1) for i in (0, 1)]
    assert abs(sum(each) / 2 - whole) > 0.01 * whole


def test_at_the_output_labels_are_sampled_at_stride_4(batch: tuple[Tensor, Tensor]) -> None:
    scores, labels = batch
    loss = PixelLoss(WEIGHTS, IGNORE, (scores.shape[2], scores.shape[3]))
    targets = loss.targets(labels)
    assert torch.equal(targets, labels[:, 2::4, 2::4])  # the pixels nearest to the scores' centres
    expected = F.cross_entropy(scores, targets, WEIGHTS, ignore_index=IGNORE).item()
    assert mean_over_parts(scores, labels, loss, 2) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("side", "expected"), [(64, 16), (65, 17), (67, 17), (68, 17)])
def test_targets_at_the_output_have_the_size_of_the_scores(side: int, expected: int) -> None:
    labels = torch.zeros(2, side, 2 * side, dtype=torch.int64)
    size = score_size("lw-mobilenetv2", (side, 2 * side))
    targets = PixelLoss(WEIGHTS, IGNORE, size).targets(labels)
    assert (targets.shape, targets.dtype) == ((2, expected, -(-side // 2)), torch.int64)


def test_half_precision_scores_give_a_float32_loss(batch: tuple[Tensor, Tensor]) -> None:
    scores, labels = batch
    loss = PixelLoss(WEIGHTS, IGNORE).summed(scores.bfloat16(), labels)
    assert loss.dtype == torch.float32


def test_without_labels_there_is_nothing_to_learn(batch: tuple[Tensor, Tensor]) -> None:
    scores, labels = batch[0][3:].requires_grad_(), batch[1][3:]
    loss = PixelLoss(WEIGHTS, IGNORE)
    assert loss.weight(labels) == 0
    loss.summed(scores, labels).backward()
    assert scores.grad is not None
    assert not scores.grad.any()
