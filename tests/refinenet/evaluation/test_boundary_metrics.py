"""Boundary IoU by hand on small masks, and against its definition written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from refinenet.evaluation.metrics import BOUNDARY_SHARE, BoundaryIoU, ConfusionMatrix, boundary
from runtime.frames import Mask

HALVES = np.array([[0, 0, 1, 1]] * 4, np.uint8)
SHIFTED = np.array([[0, 0, 0, 1]] * 4, np.uint8)


def edges(num_classes: int, label: Mask, mask: Mask, share: float = BOUNDARY_SHARE) -> BoundaryIoU:
    counted = BoundaryIoU(num_classes, share)
    counted.add(label, mask)
    return counted


def test_the_band_of_a_block_leaves_its_middle_out() -> None:
    block = np.zeros((5, 5), bool)
    block[1:4, 1:4] = True
    ring = block.copy()
    ring[2, 2] = False
    np.testing.assert_array_equal(boundary(block, 1), ring)
    np.testing.assert_array_equal(boundary(block, 2), block)


def test_the_edge_of_the_image_is_a_contour() -> None:
    band = boundary(np.ones((4, 4), bool), 1)
    assert band.sum() == 12
    assert not band[1:3, 1:3].any()


def test_four_by_four_pixels_by_hand() -> None:
    # Class 0: all 8 labelled pixels are band; of the 12 predicted ones the middle 2 are not.
    # 6 are in both, 12 in either. Class 1: 8 labelled, 4 predicted, all of them band.
    found = edges(2, HALVES, SHIFTED)
    assert found.iou.tolist() == [6 / 12, 4 / 8]
    assert found.mean_iou == 1 / 2


def test_two_by_two_pixels_are_all_boundary() -> None:
    label, mask = np.array([[0, 0], [1, 1]], np.uint8), np.array([[0, 1], [1, 1]], np.uint8)
    assert edges(2, label, mask).iou.tolist() == [1 / 2, 2 / 3]


def test_ignored_pixels_do_not_count() -> None:
    label = HALVES.copy()
    label[:, 2] = 255  # exactly where the mask is wrong
    found = edges(2, label, SHIFTED)
    assert found.iou.tolist() == [1, 1]


def test_a_border_with_ignored_pixels_is_no_contour() -> None:
    label = np.zeros((60, 80), np.uint8)
    label[:, 40:] = 1
    mask = np.roll(label, 2, axis=1)
    mask[:, :2] = 0
    plain = edges(2, label, mask).iou
    assert plain.max() < 0.9
    label[20:40, 10:30] = label[20:40, 55:70] = 255  # far from the contour between the classes
    assert edges(2, label, mask).iou.tolist() == plain.tolist()
    # What is predicted in them makes no contour either.
    mask[25:35, 15:25] = 1
    assert edges(2, label, mask).iou.tolist() == plain.tolist()


def test_an_absent_class_is_nan_and_left_out_of_the_mean() -> None:
    found = edges(3, HALVES, SHIFTED)
    assert math.isnan(found.iou[2])
    assert found.mean_iou == 1 / 2


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    assert edges(2, np.zeros((4, 4), np.uint8), HALVES).iou[1] == 0


def test_nothing_counted_is_nan_and_no_warning() -> None:
    assert math.isnan(BoundaryIoU(2).mean_iou)
    assert math.isnan(edges(2, np.full((4, 4), 255, np.uint8), HALVES).mean_iou)


def test_images_add_up_by_pixels() -> None:
    found = edges(2, HALVES, SHIFTED)
    found.add(HALVES, HALVES)
    assert found.iou.tolist() == [(6 + 8) / (12 + 8), (4 + 8) / (8 + 8)]


@pytest.mark.parametrize(("size", "pixels"), [((360, 480), 3), ((20, 20), 1), ((1024, 2048), 11)])
def test_the_band_is_a_share_of_the_diagonal_deep(size: tuple[int, int], pixels: int) -> None:
    label = np.zeros(size, np.uint8)
    mask = label.copy()
    mask[:, -1] = 1  # cuts the band of class 0 short by one column and moves it
    found = edges(2, label, mask)
    height, width = size
    inner = (height - 2 * pixels) * (width - 2 * pixels)
    band = height * width - inner
    moved = (height - 2 * pixels) * 1
    assert found.iou[0] == pytest.approx((band - height) / (band + moved))


def test_a_contour_off_by_a_pixel_costs_more_than_in_iou() -> None:
    label = np.zeros((60, 80), np.uint8)
    label[10:50, 10:70] = 1
    mask = np.roll(label, 1, axis=1)
    counts = ConfusionMatrix(2)
    counts.add(label, mask)
    assert counts.mean_iou > 0.95
    assert edges(2, label, mask).mean_iou < 0.75
    assert edges(2, label, label).mean_iou == 1


@pytest.mark.parametrize("share", [0.005, 0.1, 0.2])
def test_boundary_iou_is_its_definition(share: float) -> None:
    rng = np.random.default_rng(0)
    label, mask = (np.kron(rng.integers(0, 4, (3, 4)), np.ones((5, 4))) for _ in range(2))
    label[4:8, 6:9] = 255
    found = edges(4, label.astype(np.uint8), mask.astype(np.uint8), share)
    distance = max(1, round(share * math.hypot(*label.shape)))
    for index in range(4):
        expected, predicted = (
            band_by_definition((ids == index) & (label != 255), distance, label != 255)
            for ids in (label, mask)
        )
        share_of_both = (expected & predicted).sum() / (expected | predicted).sum()
        assert found.iou[index] == share_of_both


def band_by_definition(
    region: NDArray[np.bool_], distance: int, counted: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The pixels of the region with a counted pixel outside it, or the image's edge, that near."""
    outside = np.pad(~region & counted, distance, constant_values=True)
    band = np.zeros_like(region)
    for y, x in np.argwhere(region):
        band[y, x] = outside[y : y + 2 * distance + 1, x : x + 2 * distance + 1].any()
    return band
