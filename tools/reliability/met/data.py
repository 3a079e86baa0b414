"""Masks of every kind, lists of names, and folders as people have them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.files import sha256_of
from tools.reliability.met.rows import BGR_IDS, failed, files_are, mask_is, refused, right
from tools.reliability.shelf import DESCRIPTION, PALETTE, frame
from tools.reliability.surroundings import Prepare, Surrounding

EVALUATE = "evaluate toy.fp32.onnx --data data --dataset data/own.json"
CHECK = "data check data --dataset data/own.json --split val"
ALL_RIGHT = "100.00"  # per cent mIoU: the shelf's model knows the shelf's labels
COLOURS = np.array(PALETTE, np.uint8)
Ids = NDArray[np.uint8]


def _described(room: Path, **entries: Any) -> None:
    description = {key: value for key, value in DESCRIPTION.items() if key != "palette"}
    (room / "data/own.json").write_text(json.dumps(description | entries))


def _masks(picture: Callable[[Ids], Image.Image], ending: str = "png", **entries: Any) -> Prepare:
    """Both labels of val as such pictures of their ids; entries: of the description."""

    def write(room: Path) -> None:
        labels = room / "data/labels/val"
        for label in list(labels.iterdir()):
            with Image.open(label) as image:
                ids = np.asarray(image)
            label.unlink()
            picture(ids).save(label.with_suffix(f".{ending}"))
        _described(room, labels=f"labels/{{split}}/{{name}}.{ending}", **entries)

    return write


def _grey(ids: Ids) -> Image.Image:
    return Image.fromarray(ids)


def _in_colours(ids: Ids) -> Image.Image:
    return Image.fromarray(COLOURS[ids])


def _with_alpha(value: int) -> Callable[[Ids], Image.Image]:
    return lambda ids: Image.merge("LA", (_grey(ids), Image.new("L", ids.shape[::-1], value)))


def _halved(ids: Ids) -> Image.Image:
    """0 and 255, as painting programs mean two classes."""
    return _grey((ids > 0).astype(np.uint8) * 255)


TWO: dict[str, Any] = {"classes": ["ground", "plant"]}
MASKS: Mapping[str, Surrounding] = MappingProxyType(
    {
        "grey": right(EVALUATE, _masks(_grey), says=ALL_RIGHT),
        "grey TIFF of 32 bits": right(
            EVALUATE,
            _masks(lambda ids: Image.fromarray(ids.astype(np.int32)), "tif"),
            says=ALL_RIGHT,
        ),
        "TIFF of floats that are whole": right(
            EVALUATE,
            _masks(lambda ids: Image.fromarray(ids.astype(np.float32)), "tif"),
            says=ALL_RIGHT,
        ),
        "TIFF of floats that are not": refused(
            EVALUATE, _masks(lambda ids: Image.fromarray(ids.astype(np.float32) + 0.5), "tif")
        ),
        "16 bits": right(
            EVALUATE,
            _masks(lambda ids: Image.fromarray(ids.astype(np.uint16))),
            says=ALL_RIGHT,
        ),
        "grey stored as RGB": right(
            EVALUATE, _masks(lambda ids: _grey(ids).convert("RGB")), says=ALL_RIGHT
        ),
        "RGB with the palette": right(
            EVALUATE,
            _masks(_in_colours, palette=[list(colour) for colour in PALETTE]),
            says=ALL_RIGHT,
        ),
        "RGB without a palette": refused(EVALUATE, _masks(_in_colours), "palette"),
        "RGB of another palette": refused(
            EVALUATE, _masks(_in_colours, palette=[[1, 2, 3], [4, 5, 6], [7, 8, 9]])
        ),
        "opaque alpha": right(EVALUATE, _masks(_with_alpha(255)), says=ALL_RIGHT),
        "alpha that is not opaque": refused(EVALUATE, _masks(_with_alpha(9)), "alpha"),
        "1 bit": right(CHECK, _masks(lambda ids: _grey(ids * 255 * (ids < 2)).convert("1"), **TWO)),
        "JPEG": refused(EVALUATE, _masks(_grey, "jpg"), "JPEG"),
        "JPEG in colours": refused(
            EVALUATE,
            _masks(_in_colours, "jpg", palette=[list(colour) for colour in PALETTE]),
            "JPEG",
        ),
        "JPEG of many classes": failed(
            CHECK,
            _masks(lambda ids: _grey(ids * 9), "jpg", classes=[str(n) for n in range(99)]),
            "JPEG",
        ),
        "0 and 255 of two classes": right(CHECK, _masks(_halved, **TWO), says="id_map"),
        "0 and 255, mapped": right(
            CHECK, _masks(_halved, id_map={"0": 0, "255": 1}, ignore_id=254, **TWO)
        ),
    }
)


def _list(text: str) -> Prepare:
    """val.txt is that text."""

    def write(room: Path) -> None:
        for part in ("images", "labels"):
            day = room / f"data/{part}/val/day 1"
            day.mkdir()
            shutil.copy(room / f"data/{part}/val/1.png", day / "0.png")
        (room / "data/val.txt").unlink()
        (room / "data/val.txt").write_bytes(text.encode())
        _described(room)

    return write


LISTS: Mapping[str, Surrounding] = MappingProxyType(
    {
        "folders and spaces": right(EVALUATE, _list("0\nday 1/0\n"), says=ALL_RIGHT),
        "a byte order mark": right(EVALUATE, _list("\ufeff0\n1\n"), says=ALL_RIGHT),
        "line ends of Windows": right(EVALUATE, _list("0\r\n1\r\n"), says=ALL_RIGHT),
        "endings": right(EVALUATE, _list("0.png\nday 1/0.png\n"), says=ALL_RIGHT),
        "paths": right(EVALUATE, _list("images/val/0.png\n"), says=ALL_RIGHT),
        "pairs": right(EVALUATE, _list("images/val/0.png labels/val/0.png\n"), says=ALL_RIGHT),
        "a folder that is not there": refused(EVALUATE, _list("0\nday 2/0\n"), "day 2/0"),
        "a folder that is not there, with an ending": refused(
            EVALUATE, _list("day 2/0.png\n"), "day 2/0"
        ),
        "nothing": refused(EVALUATE, _list("\n\n")),
    }
)


SEGMENT = "segment photos --model toy.fp32.onnx --output out"


def _photos(change: Callable[[Path], None], names: tuple[str, ...] = ("a", "b")) -> Prepare:
    """A folder `photos` with such images, and what is done to it."""

    def write(room: Path) -> None:
        photos = room / "photos"
        photos.mkdir()
        for name in names:
            shutil.copy(room / "photo.png", photos / f"{name}.png")
        change(photos)

    return write


def _from_a_mac(photos: Path) -> None:
    (photos / "._a.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (photos / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")


def _cut(photos: Path) -> None:
    path = photos / "b.png"
    path.write_bytes(path.read_bytes()[:500])


def _linked(photos: Path) -> None:
    elsewhere = photos.with_name("elsewhere")
    elsewhere.mkdir()
    shutil.copy(photos / "a.png", elsewhere / "c.png")
    (photos / "day").symlink_to(elsewhere)


def _loop(photos: Path) -> None:
    (photos / "again").symlink_to(photos)


def _heic(photos: Path) -> None:
    (photos / "c.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))


def _turned(photos: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    upright = Image.fromarray(frame()[:, :, ::-1])
    upright.transpose(Image.Transpose.ROTATE_180).save(photos / "a.png", exif=exif)


def _twice(photos: Path) -> None:
    """Two images whose masks would have one name."""
    Image.fromarray(frame()).save(photos / "a.bmp")


def _done(photos: Path) -> None:
    """Only b's mask is missing."""
    out = photos.with_name("out")
    out.mkdir()
    Image.fromarray(BGR_IDS).save(out / "a.png")
    os.utime(out / "a.png", (1, 1))


def _done_by(model: str, photos: Path) -> None:
    _done(photos)
    note: dict[str, Any] = {"model": model, "card": None, "look": []}
    photos.with_name("out").joinpath(".segment.json").write_text(json.dumps(note))


def _done_by_this(photos: Path) -> None:
    _done_by(sha256_of(photos.with_name("toy.fp32.onnx")), photos)


def _done_by_another(photos: Path) -> None:
    _done_by("another", photos)


FOUR = _photos(lambda _: None, ("a", "b", "c", "d"))
# An image's shard follows from its name.
FIRST_HALF, SECOND_HALF = ("a.png", "b.png", "d.png"), ("c.png",)
BOTH, SHOWN = files_are("out", "a.png", "b.png"), mask_is(BGR_IDS, "out/a.png")
FOLDERS: Mapping[str, Surrounding] = MappingProxyType(
    {
        "from a Mac": right(SEGMENT, _photos(_from_a_mac), BOTH),
        "a cut image": replace(
            refused(SEGMENT, _photos(_cut), "b.png"), check=files_are("out", "a.png")
        ),
        "a cut image, --skip-broken": right(
            f"{SEGMENT} --skip-broken", _photos(_cut), files_are("out", "a.png"), "b.png"
        ),
        "a link to a folder": right(
            SEGMENT, _photos(_linked), files_are("out", "a.png", "b.png", "day/c.png")
        ),
        "a link that leads back": refused(SEGMENT, _photos(_loop), "again"),
        "a HEIC among others": right(SEGMENT, _photos(_heic), BOTH, "HEIC"),
        "HEIC alone": refused(SEGMENT, _photos(_heic, ()), "HEIC"),
        "a HEIC as the input": refused(
            SEGMENT.replace("photos", "photos/c.heic"), _photos(_heic), "HEIC"
        ),
        "upside down by EXIF": right(SEGMENT, _photos(_turned), SHOWN),
        "upside down by EXIF, --ignore-exif": right(
            f"{SEGMENT} --ignore-exif",
            _photos(_turned),
            mask_is(BGR_IDS[::-1, ::-1], "out/a.png"),
        ),
        "two of one name": refused(SEGMENT, _photos(_twice), "a.png"),
        "no image": refused(SEGMENT, _photos(lambda _: None, ())),
        "a shard": right(f"{SEGMENT} --shard 1/2", FOUR, files_are("out", *SECOND_HALF)),
        "the other shard": right(f"{SEGMENT} --shard 0/2", FOUR, files_are("out", *FIRST_HALF)),
        "a shard that is not there": refused(
            f"{SEGMENT} --shard 3/2", _photos(lambda _: None), "3/2"
        ),
        "a shard without an image": right(f"{SEGMENT} --shard 2/3", _photos(lambda _: None)),
        "--skip-existing": right(
            f"{SEGMENT} --skip-existing",
            _photos(_done_by_this),
            files_are("out", "a.png", "b.png", ".segment.json"),
            "1 files were there",
        ),
        "--skip-existing, files of nobody knows what": replace(
            refused(f"{SEGMENT} --skip-existing", _photos(_done), "out"),
            check=files_are("out", "a.png"),
        ),
        "--skip-existing with another model": replace(
            refused(f"{SEGMENT} --skip-existing", _photos(_done_by_another), "another model"),
            check=files_are("out", "a.png", ".segment.json"),
        ),
    }
)
