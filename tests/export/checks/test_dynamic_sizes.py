"""A dynamic export takes what its card says, and is refused where PyTorch says otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from graphs import run
from numpy.typing import NDArray

from export.checks.dynamic_sizes import MULTIPLES, SMALLEST, free_axes, sizes_of
from export.factory import open_source
from export.fp16_range import measure_peaks
from export.frame_model import FrameModel
from export.int8.calibration import collect_ranges
from export.to_onnx import OnnxOptions, save, to_onnx
from export.verify.verdict import PASSED
from export.verify.verify import VerifyOptions, verify
from refinenet.__main__ import main
from runtime import Segmenter
from runtime.card import Card, read_card
from runtime.errors import InputError
from runtime.resize import fit, fitting_size, restore


def export(function: str, folder: Path) -> Path:
    options = OnnxOptions((64, 96), dynamic=True, factory=f"field_networks:{function}")
    return to_onnx(None, folder / f"{function}.fp32.onnx", options)


@pytest.fixture(scope="module")
def strided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export("strided", tmp_path_factory.mktemp("strided"))


@pytest.mark.parametrize("multiple", MULTIPLES)
@pytest.mark.parametrize("at_least", [SMALLEST, 360])
def test_sizes_are_multiples_of_nothing_else(multiple: int, at_least: int) -> None:
    for size in sizes_of(multiple, at_least):
        assert size[0] != size[1]
        for side in size:
            assert side >= at_least
            assert side % multiple == 0
            assert (side // multiple) % 2
            assert (side // multiple) % 3


@pytest.mark.parametrize(
    ("function", "facts"),
    [
        ("pyramid", ["AdaptiveAvgPool2d pool in field_networks.py:"]),
        ("own_size", ["height and width", "field_networks.py:"]),
    ],
)
def test_what_is_tied_to_its_example_is_refused_with_the_place(
    function: str, facts: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ["export", "--factory", f"field_networks:{function}", "--dynamic", "--size", "64x96"]
    options = ["--output", str(tmp_path), "--precision", "fp32", "--quiet"]
    assert main([*asked, *options]) == 2
    printed = capfd.readouterr()
    (line,) = printed.err.splitlines()  # no log lines of PyTorch and ONNX Runtime
    for fact in (*facts, "without --dynamic"):
        assert fact in line
    assert printed.out == ""
    assert not list(tmp_path.iterdir())


def test_the_card_says_what_the_graph_says(tmp_path: Path) -> None:
    path = export("bycolour", tmp_path)
    card = read_card(path)
    assert card.input_shape == free_axes(onnx.load(path)) == (None, None, None, 3)
    assert card.size_multiple == 1
    compared = [tuple(map(int, size.split("x"))) for size in card.details["compared_at"]]
    assert any(height % 32 == width % 32 == 0 for height, width in compared)
    assert any(height % 2 and width % 2 for height, width in compared)


def test_where_multiples_alone_agree_the_card_says_of_what(strided: Path) -> None:
    card = read_card(strided)
    assert (card.size_multiple, card.frame_size) == (8, None)
    assert fitting_size((427, 640), card) == (432, 640)


def test_frames_of_any_size_go_through_a_file_of_multiples(
    strided: Path, photo_frame: NDArray[np.uint8]
) -> None:
    frame = cv2.resize(photo_frame, (125, 77), interpolation=cv2.INTER_AREA)
    source = open_source(None, "field_networks:strided")
    with Segmenter.open(strided) as segmenter:
        mask = segmenter(frame)
        (batched,) = segmenter.segment_batch([frame])
    fitted = fit(frame, read_card(strided))
    assert fitted.shape == (80, 128, 3)
    with torch.no_grad():
        expected = FrameModel(source.network, source.card).eval()(torch.from_numpy(fitted[None]))
    assert mask.shape == (77, 125)
    assert len(np.unique(mask)) > 1
    np.testing.assert_array_equal(mask, restore(expected[0].numpy(), (77, 125), read_card(strided)))
    np.testing.assert_array_equal(mask, batched)
    with pytest.raises(Exception, match=r"(?i)dimension|shape"):
        run(strided, frame[None])


def test_verify_compares_at_several_sizes(strided: Path, photo: Path) -> None:
    options = VerifyOptions(
        strided.parent, None, factory="field_networks:strided", images=photo, quiet=True
    )
    (fp32,) = verify(options)
    assert fp32.status == PASSED
    assert fp32.measures["sizes"] == ["304x448", "432x640"]


def test_sizes_that_the_graph_cannot_take_are_one_line(
    strided: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As a file of an earlier version, whose card says any size."""
    path = Path(shutil.copy(strided, tmp_path))
    edit_card(path, lambda card: replace(card, size_multiple=1))
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.zeros((76, 100, 3), np.uint8))
    asked = ["verify", str(tmp_path), "--factory", "field_networks:strided"]
    assert main([*asked, "--images", str(image), "--quiet"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "InputError" in line
    assert "76x100" in line
    with pytest.raises(InputError, match="76x100"):
        collect_ranges(path, [image], quiet=True)
    with pytest.raises(InputError, match="76x100"):
        measure_peaks(path, [image], True)


def edit_card(path: Path, change: Callable[[Card], Card]) -> None:
    model = onnx.load(path)
    save(model, path, change(read_card(path)))
