"""A network runs once before it is exported, and its result gets a meaning or is refused."""

from __future__ import annotations

from types import SimpleNamespace

import field_networks
import numpy as np
import pytest
import torch

from export.checks.first_run import trial_image
from export.checks.scores import CLASS_MAP, ONE_CHANNEL, SCORES, found
from export.factory import open_source
from export.frame_model import FrameModel
from runtime.errors import InputError
from runtime.frames import Frame

# Blue, green and red areas in BGR.
FLAG: Frame = np.zeros((1, 40, 48, 3), np.uint8)
FLAG[:, :, :16, 0] = FLAG[:, :, 16:32, 1] = FLAG[:, :, 32:, 2] = 255
BY_COLOUR = np.repeat([2, 1, 0], 16)  # the network's order is red, green, blue
IS_RED = np.repeat([0, 0, 1], 16)


def mask_row(function: str) -> list[int]:
    """The middle row of the mask of the flag."""
    source = open_source(None, f"field_networks:{function}", size=(40, 48))
    with torch.no_grad():
        mask = FrameModel(source.network, source.card).eval()(torch.from_numpy(FLAG))
    assert mask.dtype == torch.uint8
    assert mask.shape == (1, 40, 48)
    return list(mask[0, 20].numpy())


@pytest.mark.parametrize(
    "function",
    ["bycolour", "named_logits", "named_otherwise", "in_an_object", "after_a_loss", "nested"],
)
def test_scores_are_found_wherever_a_network_puts_them(function: str) -> None:
    assert mask_row(function) == list(BY_COLOUR)


@pytest.mark.parametrize("function", ["red", "red_squeezed", "red_probability"])
def test_one_channel_is_background_and_foreground(function: str) -> None:
    source = open_source(None, f"field_networks:{function}")
    assert source.reading.kind == ONE_CHANNEL
    assert source.reading.threshold == (0.5 if function == "red_probability" else 0)
    assert source.card.classes == ("background", "foreground")
    assert mask_row(function) == list(IS_RED)


def test_the_two_scores_of_one_logit_have_its_sigmoid_for_a_softmax() -> None:
    source, image = open_source(None, "field_networks:red"), trial_image(1, (16, 16))
    logit = field_networks.red()(image)
    torch.testing.assert_close(source.network(image).softmax(1)[:, 1:], logit.sigmoid())


@pytest.mark.parametrize(
    ("function", "classes", "row"),
    [
        ("class_ids", 3, BY_COLOUR),
        ("float_ids", 3, BY_COLOUR),
        ("indices", 3, BY_COLOUR),
        ("red_or_not", 2, IS_RED),
    ],
)
def test_class_ids_are_taken_as_they_are(
    function: str, classes: int, row: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> None:
    source = open_source(None, f"field_networks:{function}")
    assert (source.reading.kind, len(source.card.classes)) == (CLASS_MAP, classes)
    assert mask_row(function) == list(row)


@pytest.mark.parametrize(
    ("function", "fact"),
    [
        ("red_clamped", '"threshold": 0.5'),
        ("smoothed_ids", '"threshold"'),
        ("constant", '"threshold"'),
        ("one_class_ids", "1"),
        ("unnumbered_ids", "--card FILE"),
        ("channels_last", "(1, 64, 64, 3)"),
        ("two_unnamed", "a, b"),
        ("endless", "finite"),
    ],
)
def test_a_result_without_a_sure_meaning_is_refused(function: str, fact: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(None, f"field_networks:{function}")
    assert fact in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_of_one_size_runs_at_the_size_that_is_exported() -> None:
    assert open_source(None, "field_networks:positions", size=(64, 96)).reading.kind == SCORES
    with pytest.raises(InputError, match=r"\(1, 3, 96, 64\): RuntimeError"):
        open_source(None, "field_networks:positions", size=(96, 64))


def test_a_size_that_a_strided_network_takes_is_named() -> None:
    with pytest.raises(InputError, match="--size 64x104, whose sides are multiples of 8"):
        open_source(None, "field_networks:strided", size=(60, 100))


def test_half_precision_becomes_single() -> None:
    source = open_source(None, "field_networks:half")
    assert {value.dtype for value in source.network.state_dict().values()} == {torch.float32}


def test_what_holds_no_map_is_told_by_its_names() -> None:
    with pytest.raises(InputError, match="dict with loss, boxes"):
        found({"loss": torch.zeros(()), "boxes": torch.zeros(3, 4)})
    with pytest.raises(InputError, match="SimpleNamespace"):
        found(SimpleNamespace(boxes=torch.zeros(3, 4)))
