"""What the exported graph feeds its network is what training feeds it, tensor by tensor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from graphs import nodes
from numpy.typing import NDArray

from export.verify.preprocessing import (
    INPUT_LIMITS,
    cause_of_difference,
    input_limit,
    network_input,
)
from export.verify.stages import OnnxStage
from export.verify.verify import VerifyOptions, verify
from refinenet.data.network_input import to_input
from runtime.card import Card, read_card
from runtime.frames import Frame
from runtime.normalization import IMAGENET
from runtime.resize import fit

Image = NDArray[np.float32]


def fed_by(path: Path, frame: Frame) -> Image:
    """The network's input in an exported graph, (3, H, W)."""
    fed = OnnxStage(path)(frame[None]).network_input
    assert fed is not None
    return fed


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_export_feeds_what_training_feeds(
    precision: str, exported: Path, small_photo: Frame
) -> None:
    found = fed_by(exported / f"street.{precision}.onnx", small_photo[0])
    np.testing.assert_allclose(
        found, to_input(small_photo[0], IMAGENET).numpy(), rtol=0, atol=INPUT_LIMITS[precision]
    )


def test_it_is_what_the_first_convolution_reads(exported: Path) -> None:
    model = onnx.load(exported / "street.fp32.onnx")
    assert nodes(model, "Conv")[0].input[0] == network_input(model)
    assert network_input(onnx.ModelProto()) is None


def test_a_frame_of_another_size_is_stretched_as_a_whole(
    exported: Path, photo_frame: Frame
) -> None:
    path = exported / "street.fp32.onnx"
    expected = to_input(cv2.resize(photo_frame, (160, 120), interpolation=cv2.INTER_AREA), IMAGENET)
    found = fed_by(path, fit(photo_frame, read_card(path)))
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4)


def test_a_letterbox_is_filled_as_training_fills_beyond_the_image(
    exported: Path, photo_frame: Frame
) -> None:
    path = exported / "street.fp32.onnx"
    found = fed_by(path, fit(photo_frame, replace(read_card(path), resize_policy="letterbox")))
    # 427x640 in 120x160 leaves 107 rows, and 6 above them.
    grey = np.round(255 * np.array(IMAGENET.mean[::-1])).astype(np.uint8)  # of training's padding
    border = to_input(np.tile(grey, (6, 160, 1)), IMAGENET).numpy()
    np.testing.assert_allclose(found[:, :6], border, rtol=0, atol=1e-4)
    photo = to_input(
        cv2.resize(photo_frame, (160, 107), interpolation=cv2.INTER_AREA), IMAGENET
    ).numpy()
    np.testing.assert_allclose(found[:, 6:113], photo, rtol=0, atol=1e-4)


def test_verify_measures_it_in_every_stage(folder: Path, weights: Path, photo: Path) -> None:
    results = verify(VerifyOptions(folder, str(weights), images=photo, quiet=True))
    errors = {row.name: row.measures["network_input_error"] for row in results}
    assert errors["fp32"] < 1e-5
    assert all(0 < errors[name] < 5e-3 for name in ("fp16", "int8"))


def test_networks_that_are_fed_grey_levels_may_differ_by_as_many_of_them(card: Card) -> None:
    levels = replace(card, std=(1 / 255, 1 / 255, 1 / 255))
    assert input_limit("fp16", card) == pytest.approx(INPUT_LIMITS["fp16"], rel=0.01)
    # FP16 rounds 100 to 130 to sixteenths; a mean that is wrong by one level is still found.
    assert 1 / 16 < input_limit("fp16", levels) < 0.5
    assert input_limit("fp32", levels) < 0.01


def test_the_cause_of_a_difference_is_told(card: Card, small_photo: Frame) -> None:
    right = to_input(small_photo[0], IMAGENET).numpy()
    mean, std = (np.array(values)[:, None, None] for values in (card.mean, card.std))
    unit = (right * std + mean).astype(np.float32)  # 0 to 1
    swapped = to_input(small_photo[0, :, :, ::-1], IMAGENET).numpy()
    assert cause_of_difference(right, swapped, card) == "red and blue are swapped"
    assert cause_of_difference(right, unit, card) == (
        "as if normalized with mean 0.000, 0.000, 0.000 and std 1.000, 1.000, 1.000"
    )
    noise = np.random.default_rng(0).normal(size=right.shape).astype(np.float32)
    assert "neither the channel order" in cause_of_difference(right, right + noise, card)
