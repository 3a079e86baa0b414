"""Data sets that are trained on: what is said of them, and what a run goes on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from tools.reliability.met.rows import failed, refused, right
from tools.reliability.shelf import CLASSES, DESCRIPTION, PALETTE
from tools.reliability.surroundings import Prepare, Surrounding

CHECK = "data check data --dataset data/own.json --split train"
EVALUATE = "evaluate toy.fp32.onnx --data data --dataset data/own.json --split train"
TRAIN = (
    "train --variant lw-mobilenetv2 --data data --dataset data/own.json --epochs 1 --batch 2 "
    "--crop 32 --workers 0 --output"
)


def _described(change: Callable[[Path], None] = lambda _: None, **entries: Any) -> Prepare:
    """own.json is the shelf's description with other entries; change: of the folder data."""

    def write(room: Path) -> None:
        (room / "data/own.json").write_text(json.dumps(DESCRIPTION | entries))
        change(room / "data")

    return write


def _with_own_run(prepare: Prepare) -> Prepare:
    """The shelf's run, as files that a training may go on with."""

    def write(room: Path) -> None:
        prepare(room)
        for path in (room / "run").iterdir():
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)

    return write


def _halved(data: Path) -> None:
    """Labels of 0 and 255."""
    for label in list(data.glob("labels/*/*.png")):
        with Image.open(label) as image:
            ids = np.asarray(image)
        label.unlink()
        Image.fromarray((ids > 0).astype(np.uint8) * 255).save(label)


def _on_its_side(data: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = data / "images/train/0.png"
    with Image.open(path) as image:
        image.load()
    path.unlink()
    image.save(path, exif=exif)


def _hidden(data: Path) -> None:
    (data / "images/train/._0.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")


def _moved(data: Path) -> None:
    """The folders of a split lie elsewhere, behind links."""
    for part in ("images", "labels"):
        shutil.move(data / part / "train", data / f"{part} elsewhere")
        (data / part / "train").symlink_to(data / f"{part} elsewhere")


def _loop(data: Path) -> None:
    (data / "images/train/again").symlink_to(data / "images/train")


def _one_more(data: Path) -> None:
    for part in ("images", "labels"):
        shutil.copy(data / part / "train/0.png", data / part / "train/2.png")


ALL: dict[str, Any] = {"splits": {"train": "*", "val": "*"}}
SWAPPED: dict[str, Any] = {"classes": CLASSES[::-1], "palette": PALETTE[::-1]}
TWO: dict[str, Any] = {"classes": ["ground", "plant"], "palette": [[0, 0, 0], [9, 9, 9]]}
TRAININGS: Mapping[str, Surrounding] = MappingProxyType(
    {
        "labels of 0 and 255": right(f"{TRAIN} out", _described(_halved, **TWO), says="id_map"),
        "on its side by EXIF, to check": failed(CHECK, _described(_on_its_side), "EXIF"),
        "on its side by EXIF": refused(EVALUATE, _described(_on_its_side), "EXIF"),
        "on its side by EXIF, ignored": right(CHECK, _described(_on_its_side, exif="ignore")),
        "hidden files of a Mac": right(CHECK, _described(_hidden, **ALL)),
        "folders behind links": right(CHECK, _described(_moved, **ALL)),
        "a link that leads back": refused(CHECK, _described(_loop, **ALL), "again"),
        "an unknown entry": refused(CHECK, _described(colours=PALETTE), "colours"),
        "--resume of a whole run": right(f"{TRAIN} run --resume", _with_own_run(_described())),
        "--resume with swapped classes": refused(
            f"{TRAIN} run --resume", _with_own_run(_described(**SWAPPED))
        ),
        "--resume with the names in another form": right(
            f"{TRAIN} run --resume",
            _with_own_run(_described(splits={"train": ["0", "1"], "val": "*"})),
        ),
        "--resume with one image more": refused(
            f"{TRAIN} run --resume", _with_own_run(_described(_one_more, **ALL)), "another training"
        ),
    }
)
