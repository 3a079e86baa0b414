"""Agreement with the reference, and with labels."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.accuracy import agreement_with, mean_ious
from refinenet.data.datasets import CAMVID, LabelledImages
from runtime.card import Card
from runtime.errors import DeviceError

FRAME = np.zeros((4, 5, 3), np.uint8)
CARD = Card(
    variant="lw-mobilenetv2",
    classes=CAMVID.classes,
    palette=CAMVID.palette,
    input_shape=(1, 4, 5, 3),
    output_kind="mask",
)


class Answer:
    """A backend with one answer to every frame."""

    description = "an answer"

    def __init__(self, mask: NDArray[np.uint8]) -> None:
        self.mask = mask

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        assert frames.shape == (1, 4, 5, 3)
        return self.mask[np.newaxis]

    def close(self) -> None: ...


def mask_with(ones: int) -> NDArray[np.uint8]:
    """A (4, 5) mask of zeros whose first `ones` pixels are 1."""
    return (np.arange(20) < ones).astype(np.uint8).reshape(4, 5)


def test_equal_masks_agree_on_every_pixel() -> None:
    (found,) = agreement_with(Answer(mask_with(3)), [Answer(mask_with(3))], [FRAME, FRAME])
    assert (found.equal_pixels, found.pixels, found.share) == (40, 40, 1.0)


def test_a_backend_whose_mask_differs_agrees_on_less() -> None:
    backends = [Answer(mask_with(0)), Answer(mask_with(1))]
    same, differs = agreement_with(Answer(mask_with(0)), backends, [FRAME, FRAME])
    assert same.share == 1.0
    assert differs.share == pytest.approx(0.95)


def test_a_mask_of_another_shape_is_an_error_and_not_a_broadcast() -> None:
    with pytest.raises(DeviceError, match="expected"):
        agreement_with(Answer(mask_with(0)), [Answer(np.zeros((1, 5), np.uint8))], [FRAME])


@pytest.fixture
def labelled(tmp_path: Path) -> LabelledImages:
    """One picture of twice the model's size, its upper half class 1, its lower half class 0."""
    label = np.zeros((8, 10), np.uint8)
    label[:4] = 1
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((8, 10, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "label.png"), label)
    return LabelledImages(CAMVID, ((tmp_path / "image.png", tmp_path / "label.png"),))


def test_masks_come_back_to_the_size_of_the_labels(labelled: LabelledImages) -> None:
    right, half_right = Answer(mask_with(10)), Answer(mask_with(0))
    assert mean_ious([right, half_right], labelled, CARD) == [1.0, 0.25]


def test_labels_without_any_class_have_no_iou(labelled: LabelledImages) -> None:
    image, label = labelled.pairs[0]
    cv2.imwrite(str(label), np.full((8, 10), CAMVID.ignore_id, np.uint8))
    only_ignored = replace(labelled, pairs=((image, label),))
    assert mean_ious([Answer(mask_with(0))], only_ignored, CARD) == [None]
