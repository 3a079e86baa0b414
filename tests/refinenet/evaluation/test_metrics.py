"""IoU by hand on small masks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from refinenet.evaluation.metrics import ConfusionMatrix
from runtime.errors import InputError
from runtime.frames import Mask


def mask(*rows: tuple[int, ...]) -> Mask:
    return np.array(rows, np.uint8)


def matrix(num_classes: int, label: Mask, prediction: Mask) -> ConfusionMatrix:
    counted = ConfusionMatrix(num_classes)
    counted.add(label, prediction)
    return counted


def test_two_by_two_pixels_by_hand() -> None:
    found = matrix(2, mask((0, 0), (1, 1)), mask((0, 1), (1, 1)))
    assert found.counts.tolist() == [[1, 1], [0, 2]]
    assert found.iou.tolist() == [1 / 2, 2 / 3]
    assert found.mean_iou == pytest.approx(7 / 12)
    assert found.pixel_accuracy == 3 / 4


def test_rows_are_labels_and_columns_predictions() -> None:
    assert matrix(2, mask((0, 0)), mask((1, 1))).counts.tolist() == [[0, 2], [0, 0]]
    assert matrix(2, mask((1, 1)), mask((0, 0))).counts.tolist() == [[0, 0], [2, 0]]


@pytest.mark.parametrize("ignored", [2, 11, 255])
def test_ignored_pixels_do_not_count(ignored: int) -> None:
    found = matrix(2, mask((0, ignored), (1, ignored)), mask((0, 0), (1, 1)))
    assert found.counts.sum() == 2
    assert found.mean_iou == found.pixel_accuracy == 1


def test_a_class_that_is_absent_is_nan_and_left_out_of_the_mean() -> None:
    found = matrix(3, mask((0, 0), (1, 1)), mask((0, 1), (1, 1)))
    assert math.isnan(found.iou[2])
    assert found.mean_iou == pytest.approx(7 / 12)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    found = matrix(3, mask((0, 0), (1, 1)), mask((0, 2), (1, 1)))
    assert found.iou.tolist() == [1 / 2, 1, 0]
    assert found.mean_iou == pytest.approx(1 / 2)


def test_images_add_up() -> None:
    found = ConfusionMatrix(2)
    found.add(mask((0, 0)), mask((0, 1)))
    found.add(mask((1, 1, 1)), mask((1, 1, 0)))
    assert found.counts.tolist() == [[1, 1], [1, 2]]


def test_nothing_counted_is_nan_and_no_warning() -> None:
    found = matrix(2, mask((255, 255)), mask((0, 1)))
    assert math.isnan(found.mean_iou)
    assert math.isnan(found.pixel_accuracy)


def test_256_classes_count_without_overflow() -> None:
    found = matrix(256, mask((255, 254)), mask((255, 255)))
    assert found.counts[255, 255] == found.counts[254, 255] == 1


def test_accuracy_by_class_is_what_was_found_of_its_labels() -> None:
    found = matrix(3, mask((0, 0, 0, 1)), mask((0, 0, 1, 1)))
    assert found.class_accuracy[:2].tolist() == [2 / 3, 1]
    assert math.isnan(found.class_accuracy[2])
    assert found.mean_class_accuracy == pytest.approx(5 / 6)


def test_a_class_without_labels_has_no_accuracy_and_no_weight() -> None:
    found = matrix(3, mask((0, 0), (1, 1)), mask((0, 2), (1, 1)))
    assert found.mean_class_accuracy == 3 / 4
    assert found.frequency_weighted_iou == 3 / 4


def test_iou_is_weighted_by_the_frequency_of_labels() -> None:
    found = matrix(2, mask((0, 0, 0, 1)), mask((0, 0, 1, 1)))
    assert found.iou.tolist() == [2 / 3, 1 / 2]
    assert found.frequency_weighted_iou == pytest.approx(3 / 4 * 2 / 3 + 1 / 4 * 1 / 2)


def test_nothing_labelled_is_nan_in_every_figure() -> None:
    found = matrix(2, mask((255, 255)), mask((0, 1)))
    assert math.isnan(found.mean_class_accuracy)
    assert math.isnan(found.frequency_weighted_iou)


def test_a_mask_with_an_unknown_class_is_refused() -> None:
    with pytest.raises(InputError, match="a mask holds the id 2; expected 0 to 1"):
        matrix(2, mask((0, 1)), mask((0, 2)))
    assert matrix(2, mask((0, 255)), mask((0, 2))).mean_iou == 1
