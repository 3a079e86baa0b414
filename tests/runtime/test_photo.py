"""EXIF's orientation is read from every kind of file, and used bits are counted."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from runtime.errors import InputError
from runtime.frames import list_images, read_frame
from runtime.photo import Peculiarities, left_out, orientation, used_bits


def photo(path: Path, stated: int) -> Path:
    """(30, 50), unlike itself in every other orientation."""
    rows, columns = np.mgrid[:30, :50]
    pixels = np.dstack([rows * 8, columns * 5, rows + columns]).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = stated
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("stated", range(1, 9))
def test_an_image_is_turned_unless_exif_is_ignored(
    tmp_path: Path, ending: str, stated: int
) -> None:
    path = photo(tmp_path / f"a.{ending}", stated)
    assert orientation(path) == stated
    with Image.open(photo(tmp_path / "b.png", stated)) as image:  # Pillow itself turns a TIFF
        lying = np.asarray(image)[..., ::-1].astype(int)
        shown = np.asarray(ImageOps.exif_transpose(image))[..., ::-1].astype(int)
    for turned, expected in ((True, shown), (False, lying)):
        frame = read_frame(path, turned=turned)
        assert frame.shape == expected.shape
        assert np.abs(frame - expected).mean() < 3  # decoders of JPEG and WebP differ a little


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif", "bmp"])
def test_an_image_without_exif_is_upright(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.new("RGB", (8, 8)).save(path)
    assert orientation(path) == 1


def test_damaged_exif_is_passed_over(tmp_path: Path) -> None:
    content = photo(tmp_path / "a.jpg", 6).read_bytes()
    for length in (1, 10, 25, 40, 60):
        (tmp_path / "b.jpg").write_bytes(content[:length])
        assert orientation(tmp_path / "b.jpg") in (1, 6)


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize(("bits", "found"), [(10, 10), (12, 12), (14, 14), (16, None)])
def test_the_bits_that_are_used_are_counted(
    tmp_path: Path, ending: str, bits: int, found: int | None
) -> None:
    path = tmp_path / f"a.{ending}"
    cv2.imwrite(str(path), np.linspace(0, 2**bits - 1, 64).reshape(8, 8).astype(np.uint16))
    assert used_bits(path) == found
    seen = Peculiarities()
    seen.see(path, read_frame(path))
    assert [count for _, count in seen.dark] == ([found] if found else [])


def test_a_dark_image_of_8_bits_is_no_matter_of_depth(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8), 15, np.uint8))
    seen = Peculiarities()
    seen.see(tmp_path / "a.png", read_frame(tmp_path / "a.png"))
    assert seen.dark == []


def test_images_that_are_not_read_are_counted_by_kind(tmp_path: Path) -> None:
    for name in ("a.HEIC", "deep/b.heif", "c.jp2", "d.avif", ".e.heic", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    said = left_out(tmp_path) or ""
    assert "1 AVIF, 2 HEIC, 1 JPEG 2000" in said
    with pytest.raises(InputError, match="2 HEIC"):
        list_images(tmp_path)


def test_a_heic_of_another_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(InputError, match="HEIC"):
        read_frame(tmp_path / "a.jpg")
