"""A label file gives the ids that were drawn, or is refused with a way out; never other ids."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from refinenet.data.datasets import CAMVID, VOC, find_dataset
from refinenet.data.labels import read_classes, read_label
from runtime.errors import InputError

IDS = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)
COLOURS = replace(
    VOC,
    classes=("a", "b", "c", "d"),
    palette=((0, 0, 0), (255, 255, 255), (255, 0, 0), (1, 2, 3)),
    ignore_colour=(9, 9, 9),
)


def saved(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(np.asarray(pixels))
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def grey_png(path: Path, rows: list[list[int]], bits: int) -> Path:
    """A grey PNG of 1, 2, 4, 8 or 16 bits, written by hand: Pillow writes 8 and 16 alone."""
    lines = b""
    for row in rows:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        lines += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), bits, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_of_every_depth_gives_its_ids(tmp_path: Path, bits: int) -> None:
    ids = IDS % 2 if bits == 1 else IDS
    np.testing.assert_array_equal(read_label(grey_png(tmp_path / "a.png", ids.tolist(), bits)), ids)


def test_four_bits_hold_sixteen_ids(tmp_path: Path) -> None:
    rows = [list(range(16))]
    assert read_label(grey_png(tmp_path / "a.png", rows, 4)).tolist() == rows


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiffs_of_every_depth_give_their_ids(
    tmp_path: Path, dtype: type, compression: str | None
) -> None:
    path = saved(tmp_path / "a.tif", IDS.astype(dtype), compression=compression)
    np.testing.assert_array_equal(read_label(path), IDS)


def test_one_bit_tiffs_of_every_kind_give_their_ids(tmp_path: Path) -> None:
    for compression in (None, "group4", "packbits"):
        path = saved(tmp_path / "a.tif", IDS > 1, compression=compression)
        np.testing.assert_array_equal(read_label(path), IDS > 1)


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_grey_is_taken_however_it_is_stored(tmp_path: Path, mode: str, ending: str) -> None:
    np.testing.assert_array_equal(read_label(saved(tmp_path / f"a{ending}", IDS, mode)), IDS)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.full((2, 2), 0.5, np.float32), "not whole"),
        (np.full((2, 2), np.nan, np.float32), "not whole"),
        (np.full((2, 2), -1, np.int32), "id -1"),
        (np.full((2, 2), 70000, np.int32), "id 70000"),
    ],
)
def test_numbers_that_are_no_ids_are_refused(tmp_path: Path, pixels: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_label(saved(tmp_path / "a.tif", pixels))


def test_transparent_pixels_have_no_class(tmp_path: Path) -> None:
    pixels = np.dstack([IDS, np.full_like(IDS, 255)])
    pixels[0, 0, 1] = 0
    Image.fromarray(pixels, "LA").save(tmp_path / "a.png")
    with pytest.raises(InputError, match="1 pixels that are not opaque"):
        read_label(tmp_path / "a.png")


def test_the_mask_of_a_jpeg_is_refused(shared: Path) -> None:
    with pytest.raises(InputError, match=r"JPEG.*lossy.*PNG"):
        read_label(shared / "field/many_mask.jpg")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jpg", {"quality": 100}),
        ("a.webp", {}),
        ("a.jp2", {}),
        ("a.tif", {"compression": "jpeg"}),
        ("a.avif", {}),
    ],
)
def test_lossy_files_are_refused_whatever_their_name(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    path = saved(tmp_path / name, np.tile(IDS, (32, 32)), **options)
    renamed = path.rename(tmp_path / "mask.png")
    with pytest.raises(InputError, match="lossy"):
        read_label(renamed)


def test_several_pictures_in_one_file_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(IDS), Image.fromarray(IDS + 1)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="several pictures"):
        read_label(tmp_path / "a.tif")


def test_colours_become_the_classes_of_the_palette(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 2], [3, 255, 1]], np.uint8)
    table = dict(enumerate(COLOURS.palette)) | {255: (9, 9, 9)}
    pixels = np.array([[table[int(i)] for i in row] for row in ids], np.uint8)
    for mode in ("RGB", "RGBA"):
        path = saved(tmp_path / "a.png", pixels, mode)
        np.testing.assert_array_equal(read_classes(path, COLOURS), ids)


def test_every_class_of_camvid_is_known_by_its_colour(tmp_path: Path) -> None:
    pixels = np.array([[*CAMVID.palette, (0, 0, 0)]], np.uint8)
    label = read_classes(saved(tmp_path / "a.png", pixels), CAMVID)
    assert label.tolist() == [list(range(12))]


def test_a_colour_without_a_class_is_named(tmp_path: Path) -> None:
    pixels = np.array([[(255, 0, 0), (254, 0, 0)]], np.uint8)
    with pytest.raises(InputError, match=r"1 colours .*\[254, 0, 0\].*ignore_colour"):
        read_classes(saved(tmp_path / "a.png", pixels), COLOURS)


def test_a_palette_with_one_colour_twice_tells_no_classes_apart(tmp_path: Path) -> None:
    twice = replace(COLOURS, palette=((0, 0, 0), (0, 0, 0), (255, 0, 0), (1, 2, 3)))
    with pytest.raises(InputError, match="the same colour"):
        read_classes(saved(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8)), twice)


def test_without_a_palette_colours_mean_nothing(tmp_path: Path) -> None:
    pixels = np.array([[(128, 0, 0), (0, 128, 0)]], np.uint8)
    with pytest.raises(InputError, match='"palette"'):
        read_classes(saved(tmp_path / "a.png", pixels), find_dataset("nyudv2"))
