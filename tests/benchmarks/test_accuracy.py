"""Agreement with the reference, and with labels."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import Judged, judge
from benchmarks.images import Sample
from benchmarks.records.measurements import Accuracy, Agreement
from refinenet.data.datasets import CAMVID
from runtime.card import Card
from runtime.errors import DeviceError

FRAME = np.zeros((4, 5, 3), np.uint8)
COMPARED = Sample(FRAME, None, compared=True)
CARD = Card(
    variant="lw-mobilenetv2",
    classes=CAMVID.classes,
    palette=CAMVID.palette,
    input_shape=(None, 4, 5, 3),
    output_kind="mask",
)


class Answer:
    """A backend with one answer to every frame, and after some of them none."""

    description = "an answer"

    def __init__(self, mask: NDArray[np.uint8], frames: int = 1, lasts: int = 99) -> None:
        self.mask, self.frames, self.left = mask, frames, lasts

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        assert frames.shape == (self.frames, 4, 5, 3)
        if self.left == 0:
            raise DeviceError("the device is gone")
        self.left -= 1
        return self.mask[np.newaxis].repeat(self.frames, axis=0)

    def close(self) -> None: ...


def mask_with(ones: int) -> NDArray[np.uint8]:
    """A (4, 5) mask of zeros whose first `ones` pixels are 1."""
    return (np.arange(20) < ones).astype(np.uint8).reshape(4, 5)


def judged(*answers: Answer, samples: tuple[Sample, ...]) -> list[Accuracy | Exception]:
    backends = [Judged(answer, answer.frames) for answer in answers]
    return judge(backends, 0, samples, CARD)


def agreements(found: list[Accuracy | Exception]) -> list[Agreement | None]:
    return [entry.agreement for entry in found if isinstance(entry, Accuracy)]


def test_the_reference_is_not_compared_with_itself_and_equal_masks_agree_everywhere() -> None:
    backends = Answer(mask_with(3)), Answer(mask_with(3))
    found = agreements(judged(*backends, samples=(COMPARED, COMPARED)))
    assert found == [None, Agreement(40, 40)]


def test_a_backend_whose_mask_differs_agrees_on_less() -> None:
    backends = Answer(mask_with(0)), Answer(mask_with(1)), Answer(mask_with(20))
    found = agreements(judged(*backends, samples=(COMPARED, COMPARED)))
    assert found == [None, Agreement(38, 40), Agreement(0, 40)]


def test_a_model_of_a_larger_batch_gets_the_frame_as_often() -> None:
    backends = Answer(mask_with(2)), Answer(mask_with(2), frames=4)
    assert agreements(judged(*backends, samples=(COMPARED,))) == [None, Agreement(20, 20)]


def test_a_mask_of_another_shape_is_an_error_and_not_a_broadcast() -> None:
    backends = Answer(mask_with(0)), Answer(np.zeros((1, 5), np.uint8))
    _, lost = judged(*backends, samples=(COMPARED,))
    assert isinstance(lost, DeviceError)
    assert "expected" in str(lost)


def test_a_device_that_fails_takes_its_own_backend_alone() -> None:
    backends = Answer(mask_with(0)), Answer(mask_with(0), lasts=1), Answer(mask_with(1))
    _, lost, other = judged(*backends, samples=(COMPARED, COMPARED))
    assert isinstance(lost, DeviceError)
    assert isinstance(other, Accuracy)
    assert other.agreement == Agreement(38, 40)


def test_a_reference_that_fails_leaves_the_others_without_agreement() -> None:
    backends = Answer(mask_with(0), lasts=1), Answer(mask_with(0))
    lost, other = judged(*backends, samples=(COMPARED, COMPARED))
    assert isinstance(lost, DeviceError)
    assert isinstance(other, Accuracy)
    assert other.agreement is None


def test_whatever_a_backend_raises_takes_it_alone() -> None:
    class Strange(Answer):
        def __call__(self, _: NDArray[np.uint8], /) -> NDArray[np.uint8]:
            raise TypeError("incompatible function arguments")

    lost, other = judged(Strange(mask_with(0)), Answer(mask_with(0)), samples=(COMPARED,))
    assert isinstance(lost, TypeError)
    assert isinstance(other, Accuracy)


def test_masks_come_back_to_the_size_of_the_labels_and_count_by_class() -> None:
    label = np.zeros((8, 10), np.uint8)  # twice the model's size, its upper half class 1
    label[:4] = 1
    labelled = Sample(FRAME, label, compared=False)
    right, half_right = judged(Answer(mask_with(10)), Answer(mask_with(0)), samples=(labelled,))
    assert isinstance(right, Accuracy)
    assert isinstance(half_right, Accuracy)
    assert (right.mean_iou, half_right.mean_iou) == (1.0, 0.25)
    assert half_right.class_iou == (0.5, 0.0, *[None] * 9)
    assert half_right.agreement is None  # it was not asked for


def test_labels_without_any_class_have_no_iou() -> None:
    assert CAMVID.ignore_id is not None
    ignored = np.full((4, 5), CAMVID.ignore_id, np.uint8)
    sample = Sample(FRAME, ignored, compared=False)
    (found,) = judged(Answer(mask_with(0)), samples=(sample,))
    assert isinstance(found, Accuracy)
    assert found.mean_iou is None
