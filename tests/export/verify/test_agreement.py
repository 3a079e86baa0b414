"""Agreement counts what two stages make of a frame, by hand-made cases."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from export.verify.agreement import Agreement, Output, boundary_band

CLASSES = ("left", "right")


@pytest.fixture
def halves() -> NDArray[np.uint8]:
    """(20, 20): class 0 in columns 0 to 9, class 1 in columns 10 to 19."""
    mask = np.zeros((20, 20), np.uint8)
    mask[:, 10:] = 1
    return mask


def scores_for(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(2, H, W): 1 for the class of the pixel, -1 for the other; their deviation is 1."""
    ids = np.arange(2)[:, None, None]
    return np.where(mask == ids, 1, -1).astype(np.float32)


def compared(
    reference: Output | NDArray[np.uint8], stage: Output | NDArray[np.uint8]
) -> dict[str, object]:
    """The report on two outputs, or on two masks without scores."""
    agreement = Agreement(2)
    agreement.add(*(o if isinstance(o, Output) else Output(o, None) for o in (reference, stage)))
    return agreement.report(CLASSES)


def test_equal_masks_agree_everywhere(halves: NDArray[np.uint8]) -> None:
    report = compared(halves, halves)
    assert report["pixel_agreement"] == report["interior_agreement"] == 1
    assert report["boundary_agreement"] == 1
    assert report["differing_pixels"] == 0
    assert report["class_agreement_iou"] == {"left": 1, "right": 1}


def test_the_boundary_is_three_pixels_on_either_side(halves: NDArray[np.uint8]) -> None:
    expected = np.zeros((20, 20), bool)
    expected[:, 7:13] = True
    np.testing.assert_array_equal(boundary_band(halves), expected)


def test_a_mask_of_one_class_has_no_boundary() -> None:
    mask = np.full((20, 20), 1, np.uint8)
    assert not boundary_band(mask).any()
    assert compared(mask, mask)["boundary_agreement"] is None


@pytest.mark.parametrize(
    ("column", "interior", "boundary"),
    [(0, 1 - 1 / 280, 1), (6, 1 - 1 / 280, 1), (7, 1, 1 - 1 / 120), (9, 1, 1 - 1 / 120)],
)
def test_a_differing_pixel_counts_where_it_lies(
    column: int, interior: float, boundary: float, halves: NDArray[np.uint8]
) -> None:
    other = halves.copy()
    other[4, column] = 1
    report = compared(halves, other)
    assert report["pixel_agreement"] == pytest.approx(1 - 1 / 400)
    assert report["interior_agreement"] == pytest.approx(interior)
    assert report["boundary_agreement"] == pytest.approx(boundary)
    assert report["class_agreement_iou"] == {
        "left": pytest.approx(199 / 200, abs=1e-6),
        "right": pytest.approx(200 / 201, abs=1e-6),
    }


@pytest.mark.parametrize(("margin", "ties"), [(0.5e-3, 1), (2e-3, 0), (2.0, 0)])
def test_a_tie_is_a_difference_that_the_reference_nearly_made_itself(
    margin: float, ties: int, halves: NDArray[np.uint8]
) -> None:
    scores = scores_for(halves)
    scores[1, 4, 2] = scores[0, 4, 2] - margin
    other = halves.copy()
    other[4, 2] = 1
    report = compared(Output(halves, scores), Output(other, scores))
    assert (report["differing_pixels"], report["of_these_ties"]) == (1, ties)
    assert report["tied_pixels"] == ties
    assert (report["interior_agreement"] == 1) == bool(ties)  # ties count apart
    assert report["pixel_agreement"] == 1 - 1 / 400


def test_a_near_tie_that_does_not_differ_is_none(halves: NDArray[np.uint8]) -> None:
    scores = np.zeros((2, 20, 20), np.float32)
    scores[0, 0] = 1
    assert compared(Output(halves, scores), Output(halves, scores))["of_these_ties"] == 0


def test_what_the_network_is_fed_is_compared(halves: NDArray[np.uint8]) -> None:
    fed = np.zeros((3, 20, 20), np.float32)
    other = fed.copy()
    other[1, 2, 3] = -0.25
    agreement = Agreement(2)
    agreement.add(Output(halves, None, fed), Output(halves, None, other))
    agreement.add(Output(halves, None, fed), Output(halves, None, fed))
    assert agreement.report(CLASSES)["network_input_error"] == 0.25
    agreement.add(Output(halves, None, fed), Output(halves, None, fed * np.nan))
    agreement.add(Output(halves, None, fed), Output(halves, None, fed))
    assert agreement.report(CLASSES)["network_input_error"] is None


def test_errors_of_scores_are_relative_to_their_deviation(halves: NDArray[np.uint8]) -> None:
    scores = 50 * scores_for(halves)
    shifted = scores.copy()
    shifted[0, 0, 0] += 5
    report = compared(Output(halves, scores), Output(halves, shifted))
    assert report["scores_largest_error"] == pytest.approx(0.1, rel=1e-3)
    assert report["scores_rms_error"] == pytest.approx(0.1 / 800**0.5, rel=1e-3)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_scores_that_are_not_finite_are_an_infinite_error(
    value: float, halves: NDArray[np.uint8]
) -> None:
    scores = scores_for(halves)
    broken = scores.copy()
    broken[1, 3, 3] = value
    agreement = Agreement(2)
    agreement.add(Output(halves, scores), Output(halves, broken))
    agreement.add(Output(halves, scores), Output(halves, scores))  # a good frame does not heal it
    assert agreement.largest_error == agreement.rms_error == float("inf")
    assert agreement.report(CLASSES)["scores_largest_error"] is None
    assert compared(Output(halves, broken), Output(halves, scores))["scores_rms_error"] is None
    assert compared(Output(halves, broken), Output(halves, scores))["scores_largest_error"] is None


def test_without_scores_masks_alone_are_compared(halves: NDArray[np.uint8]) -> None:
    agreement = Agreement(2)
    agreement.add(Output(halves, scores_for(halves)), Output(halves, None))
    assert agreement.largest_error is agreement.rms_error is None
    assert agreement.pixels == 1


def test_frames_add_up(halves: NDArray[np.uint8]) -> None:
    agreement = Agreement(2)
    agreement.add(Output(halves, None), Output(halves, None))
    agreement.add(Output(halves, None), Output(1 - halves, None))
    assert agreement.pixels == 0.5


def test_a_report_is_plain_json(halves: NDArray[np.uint8]) -> None:
    left = np.zeros_like(halves)  # a class that is nowhere has no IoU
    report = compared(Output(left, scores_for(left)), Output(left, scores_for(left) * np.inf))
    assert json.loads(json.dumps(report, allow_nan=False))["class_agreement_iou"]["right"] is None
