"""Masks as palette PNGs, in colours, over the frame, with a legend."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_models import CARD

from runtime.app.overlay import (
    Look,
    blend,
    colour,
    draw_legend,
    picture,
    write_mask,
    write_picture,
)
from runtime.errors import InputError

Frame = NDArray[np.uint8]


@pytest.fixture
def label(shared: Path) -> NDArray[np.uint8]:
    """A real CamVid label, (360, 480) uint8, ids 0 to 11."""
    path = sorted((shared / "data/camvid/labels/val").iterdir())[0]
    return np.asarray(Image.open(path), np.uint8)


@pytest.fixture
def palette(shared: Path) -> list[tuple[int, int, int]]:
    content = json.loads((shared / "data/camvid/classes.json").read_text())
    return [tuple(entry) for entry in content["colors"]]


def test_a_mask_png_keeps_ids_and_palette(
    tmp_path: Path, label: Frame, palette: list[tuple[int, int, int]]
) -> None:
    path = tmp_path / "deep/er/mask.png"
    write_mask(path, label, palette)
    with Image.open(path) as picture:
        picture.verify()
    with Image.open(path) as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), label)
        colours = np.reshape(picture.getpalette(), (-1, 3))
    np.testing.assert_array_equal(colours[: len(palette)], palette)
    assert not colours[len(palette) :].any()
    assert [entry.name for entry in path.parent.iterdir()] == ["mask.png"]


def test_a_mask_of_every_id_and_an_odd_size_survives(tmp_path: Path) -> None:
    mask = np.arange(3 * 257, dtype=np.int64).astype(np.uint8).reshape(3, 257)
    write_mask(tmp_path / "all.png", mask, CARD.palette)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "all.png")), mask)


def test_a_palette_of_too_many_colours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a palette of 257 colours"):
        write_mask(tmp_path / "mask.png", np.zeros((1, 1), np.uint8), [(0, 0, 0)] * 257)
    assert list(tmp_path.iterdir()) == []


def test_colours_are_bgr() -> None:
    mask = np.array([[0, 1, 2, 3]], np.uint8)  # blue, green, red, beyond the palette
    expected = [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]]
    np.testing.assert_array_equal(colour(mask, CARD.palette), expected)


def test_a_blend_lies_between_frame_and_colours(street: Frame) -> None:
    mask = np.zeros(street.shape[:2], np.uint8)
    untouched = street.copy()
    np.testing.assert_array_equal(blend(street, mask, CARD.palette, 0), street)
    np.testing.assert_array_equal(blend(street, mask, CARD.palette, 1), colour(mask, CARD.palette))
    half = blend(street, mask, CARD.palette)
    np.testing.assert_allclose(half[..., 1], street[..., 1] / 2, atol=0.5)
    np.testing.assert_array_equal(street, untouched)


@pytest.mark.parametrize("shape", [(360, 480, 3), (20, 30, 3)])
def test_a_legend_shows_every_colour_that_has_room(shape: tuple[int, int, int]) -> None:
    picture = np.full(shape, 127, np.uint8)
    draw_legend(picture, CARD.classes, CARD.palette)
    assert (picture == (255, 0, 0)).all(2).any()


def test_a_picture_is_written_as_it_is(tmp_path: Path, street: Frame) -> None:
    write_picture(tmp_path / "street.png", street)
    written = np.asarray(Image.open(tmp_path / "street.png"))
    np.testing.assert_array_equal(written[..., ::-1], street)


@pytest.mark.parametrize("overlay", [False, True])
def test_side_by_side_shows_the_frame_beside_its_mask(street: Frame, overlay: bool) -> None:
    mask = street.argmax(2).astype(np.uint8)
    look = Look(overlay=overlay, side_by_side=True)
    shown = picture(street, mask, CARD.classes, CARD.palette, look)
    draw = blend(street, mask, CARD.palette) if overlay else colour(mask, CARD.palette)
    np.testing.assert_array_equal(shown, np.hstack((street, draw)))


def test_a_legend_leaves_the_frame_beside_it_alone(street: Frame) -> None:
    mask = street.argmax(2).astype(np.uint8)
    look = Look(legend=True, side_by_side=True)
    shown = picture(street, mask, CARD.classes, CARD.palette, look)
    width = street.shape[1]
    np.testing.assert_array_equal(shown[:, :width], street)
    assert (shown[:, width:] != colour(mask, CARD.palette)).any()


def test_the_colours_of_a_view_with_strides_are_right(street: Frame) -> None:
    mask = street.argmax(2).astype(np.uint8)
    np.testing.assert_array_equal(
        colour(mask[::2, ::-1], CARD.palette), colour(mask, CARD.palette)[::2, ::-1]
    )
