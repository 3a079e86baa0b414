"""Which sizes and tiles a frame is seen at, by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from refinenet.evaluation.passes import Passes, Tiles
from runtime.errors import InputError

AUTHORS = (0.4, 0.6, 0.8, 1.0, 1.2)


@pytest.mark.parametrize(
    ("bounds", "image", "expected"),
    [
        ((450, 800), (375, 500), [(180, 240), (270, 360), (360, 480), (450, 600), (540, 720)]),
        ((450, 800), (500, 375), [(240, 180), (360, 270), (480, 360), (600, 450), (720, 540)]),
        ((450, 800), (1000, 2000), [(320, 640), (480, 960), (640, 1280), (800, 1600), (960, 1920)]),
        ((450, 800), (450, 800), [(180, 320), (270, 480), (360, 640), (450, 800), (540, 960)]),
        (None, (375, 500), [(150, 200), (225, 300), (300, 400), (375, 500), (450, 600)]),
    ],
)
def test_the_shorter_edge_is_bounded_before_it_is_scaled(
    bounds: tuple[int, int] | None, image: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    assert Passes(AUTHORS, shorter_edge=bounds).sizes(image) == expected


def test_no_scale_makes_an_image_vanish() -> None:
    assert Passes((0.1,)).sizes((3, 40)) == [(1, 4)]


def test_scales_and_mirror_images_are_counted() -> None:
    assert Passes().count == 1
    assert Passes(AUTHORS, flip=True).count == 10


@pytest.mark.parametrize("size", [(32, 48), (31, 50), (100, 101), (64, 33), (7, 90)])
@pytest.mark.parametrize("overlap", [0, 5, 31])
def test_tiles_cover_every_pixel_and_share_what_was_asked(
    size: tuple[int, int], overlap: int
) -> None:
    seen = np.zeros(size, int)
    tiles = Tiles((32, 48), overlap)
    places = tiles.over(size)
    for rows, columns in places:
        piece = seen[rows, columns]
        assert piece.shape == (min(32, size[0]), min(48, size[1]))
        piece += 1
    assert seen.min() == 1
    assert len(places) == len({(rows.start, columns.start) for rows, columns in places})
    tops = sorted({rows.start for rows, _ in places})
    assert all(later - earlier <= 32 - overlap for earlier, later in pairwise(tops))


def test_the_last_tile_ends_with_the_image() -> None:
    starts = [columns.start for _, columns in Tiles((512, 512), 64).over((512, 1025))]
    assert starts == [0, 448, 513]


def test_a_smaller_image_is_one_tile() -> None:
    assert Tiles((512, 512)).over((360, 480)) == [(slice(0, 360), slice(0, 480))]


@pytest.mark.parametrize("overlap", [-1, 32, 64])
def test_an_overlap_that_leaves_no_step_is_refused(overlap: int) -> None:
    with pytest.raises(InputError, match=f"tiles of 32x64 with an overlap of {overlap}"):
        Tiles((32, 64), overlap)


def test_no_scale_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="no scale was given"):
        Passes(())
