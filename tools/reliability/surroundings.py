"""What is not the file's content: streams that are closed, names that are odd, folders and disks
that take nothing, pictures of every kind and class counts at the limits."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from tools.reliability.confined import USUAL, Limits, Outcome, Server
from tools.reliability.shelf import CARD, frame, write_model
from tools.reliability.trials import BENCHMARK, SEGMENT, link_all, names_in

Prepare = Callable[[Path], None]
LONGEST = "ä" * 125 + "x.png"  # 255 bytes, as long as file systems allow

Faults = str | None


@dataclass(frozen=True)
class Surrounding:
    """arguments: of the command. prepare: changes the room first. exit_codes: all that are right.
    check: looks at what was written, and says what is wrong with it. says: what the command has to
    print, as written."""

    arguments: tuple[str, ...]
    limits: Limits = USUAL
    exit_codes: tuple[int, ...] = (0,)
    prepare: Prepare = lambda _: None
    check: Callable[[Path], Faults] = field(default=lambda _: None)
    says: str = ""


def run(surrounding: Surrounding, shelf: Path, room: Path, server: Server) -> Faults:
    """Try it in a copy of the shelf; what the command did wrong, or None."""
    if room.exists():
        room.chmod(0o755)
        shutil.rmtree(room)
    link_all(shelf, room)
    room.chmod(0o777)
    surrounding.prepare(room)
    before = names_in(room)
    outcome = server.run(surrounding.arguments, room, surrounding.limits)
    return _fault(surrounding, outcome, names_in(room) - before) or surrounding.check(room)


def _fault(surrounding: Surrounding, outcome: Outcome, new: set[str]) -> Faults:
    if half := [name for name in new if ".part" in name]:
        return f"left {', '.join(half)}"
    if outcome.exit_code not in surrounding.exit_codes:
        return f"exit code {outcome.exit_code}: {outcome.stderr[-300:]}"
    if surrounding.says not in (said := outcome.stdout + outcome.stderr):
        return f"does not say {surrounding.says!r}: {said[-300:]!r}"
    if "stderr" in surrounding.limits.streams or outcome.exit_code == 141:  # no line is due
        return None
    return outcome.fault


def _renamed(old: str, new: str) -> Prepare:
    def rename(room: Path) -> None:
        (room / new).parent.mkdir(exist_ok=True)
        (room / old).rename(room / new)

    return rename


def _not_ascii(room: Path) -> None:
    _renamed("photo.png", "фото ñ 写真.png")(room)
    _renamed("toy.fp32.onnx", "modèle.onnx")(room)


def _sealed(room: Path) -> None:
    room.chmod(0o555)


def _same_mask(picture: NDArray[np.uint8]) -> Callable[[Path], Faults]:
    """Whether out.png is the brightest channel of each pixel."""

    def check(room: Path) -> Faults:
        with Image.open(room / "out.png") as image:
            mask = np.asarray(image)
        if mask.shape != picture.shape[:2]:
            return f"a mask of {mask.shape} for {picture.shape}"
        return None if (mask == picture.argmax(2)).all() else "another mask"

    return check


def _picture(write: Callable[[Path], None], expected: NDArray[np.uint8]) -> Surrounding:
    return Surrounding(tuple(SEGMENT.split()), prepare=write, check=_same_mask(expected))


def _saved(picture: NDArray[np.generic]) -> Prepare:
    def write(room: Path) -> None:
        (room / "photo.png").unlink()
        cv2.imwrite(str(room / "photo.png"), np.asarray(picture))

    return write


def _rotated(room: Path) -> None:
    """The frame lying on its side, with the EXIF tag that turns it upright; lossless."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (room / "photo.png").unlink()
    upright = Image.fromarray(frame()[:, :, ::-1])
    upright.transpose(Image.Transpose.ROTATE_90).save(room / "photo.png", exif=exif)


def _cmyk(room: Path) -> None:
    (room / "photo.png").unlink()
    Image.new("CMYK", (6, 4), (255, 255, 0, 0)).save(room / "photo.png", "JPEG")


def _black_and_white(room: Path) -> None:
    (room / "photo.png").unlink()
    Image.new("1", (6, 4), 1).save(room / "photo.png")


def _grey(height: int, width: int) -> NDArray[np.uint8]:
    return frame(height, width)[:, :, 0]


def _counted(classes: int) -> Prepare:
    """A model of so many classes, whose mask holds the last of them alone."""

    def write(room: Path) -> None:
        card = replace(
            CARD, classes=tuple(map(str, range(classes))), palette=((9, 9, 9),) * classes
        )
        nodes = [
            helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("ArgMax", ["float"], ["brightest"], axis=3, keepdims=0),
            helper.make_node("Constant", [], ["zero"], value_int=0),
            helper.make_node("Constant", [], ["last"], value_int=classes - 1),
            helper.make_node("Mul", ["brightest", "zero"], ["zeros"]),
            helper.make_node("Add", ["zeros", "last"], ["id"]),
            helper.make_node("Cast", ["id"], ["mask"], to=TensorProto.UINT8),
        ]
        (room / "toy.fp32.onnx").unlink()
        (room / "toy.fp32.onnx.card.json").unlink()
        write_model(room / "toy.fp32.onnx", card, nodes)

    return write


def _all_are(value: int) -> Callable[[Path], Faults]:
    def check(room: Path) -> Faults:
        with Image.open(room / "out.png") as image:
            found = np.unique(np.asarray(image))
        return None if found.tolist() == [value] else f"ids {found}"

    return check


SEGMENTED = tuple(SEGMENT.split())
CMYK_FRAME = np.zeros((4, 6, 3), np.uint8)
CMYK_FRAME[:] = (255, 0, 0)  # cyan and magenta print blue

PICTURES: Mapping[str, Surrounding] = MappingProxyType(
    {
        "grey": _picture(_saved(_grey(48, 64)), np.zeros((48, 64, 3), np.uint8)),
        "alpha": _picture(_saved(np.dstack([frame(), _grey(48, 64)])), frame()),
        "16 bits": _picture(_saved(frame().astype(np.uint16) * 257), frame()),
        "1 bit": _picture(_black_and_white, np.zeros((4, 6, 3), np.uint8)),
        "CMYK": _picture(_cmyk, CMYK_FRAME),
        "EXIF-rotated": _picture(_rotated, frame()),
        "1x1": _picture(_saved(frame(1, 1)), frame(1, 1)),
        "1x3000": _picture(_saved(frame(1, 3000)), frame(1, 3000)),
        "3000x1": _picture(_saved(frame(3000, 1)), frame(3000, 1)),
    }
)
CLASS_COUNTS: Mapping[str, Surrounding] = MappingProxyType(
    {
        f"{count} classes": Surrounding(
            SEGMENTED, prepare=_counted(count), check=_all_are(count - 1)
        )
        for count in (1, 2, 256)
    }
    | {"0 classes": Surrounding(SEGMENTED, exit_codes=(2,), prepare=_counted(0))}
    | {"257 classes": Surrounding(SEGMENTED, exit_codes=(2,), prepare=_counted(257))}
)
# 141 where the reader is missed in the middle: with PYTHONUNBUFFERED, at the first line.
STREAM_EXIT_CODES = MappingProxyType({"disk full": (2,), "reader gone": (0, 141)})
STREAMS: Mapping[str, Surrounding] = MappingProxyType(
    {
        f"{' '.join(arguments)}: {streams}": Surrounding(
            arguments,
            Limits(streams=streams),
            STREAM_EXIT_CODES.get(streams, (0,)),
        )
        for arguments in (
            SEGMENTED,
            ("inspect", "toy.fp32.onnx"),
            ("report", "record.json"),
            ("doctor",),
            ("--help",),
            ("segment", "--help"),
        )
        for streams in (
            *("stdin", "stdout", "stderr", "stdin stdout stderr", "disk full", "reader gone"),
        )
    }
)
FAILING_WITHOUT_STREAMS: Mapping[str, Surrounding] = MappingProxyType(
    {
        f"inspect of nothing: {streams}": Surrounding(
            ("inspect", "nothing.onnx"), Limits(streams=streams), (2,)
        )
        for streams in ("stdin", "stdout", "stderr", "stdin stdout stderr", "reader gone")
    }
)
NAMES: Mapping[str, Surrounding] = MappingProxyType(
    {
        "not ASCII": Surrounding(
            ("segment", "фото ñ 写真.png", "--model", "modèle.onnx", "--output", "маска.png"),
            prepare=_not_ascii,
        ),
        "not UTF-8": Surrounding(
            ("segment", "photo\udcff.png", "--model", "toy.fp32.onnx", "--output", "out\udcff.png"),
            prepare=_renamed("photo.png", "photo\udcff.png"),
        ),
        "not UTF-8, missing": Surrounding(("inspect", "\udcff.onnx"), exit_codes=(2,)),
        "two lines": Surrounding(("inspect", "a\nb.onnx"), exit_codes=(2,)),
        "a terminal's commands": Surrounding(("inspect", "\x1b[2Ja.onnx"), exit_codes=(2,)),
        "255 bytes": Surrounding(
            ("segment", LONGEST, "--model", "toy.fp32.onnx", "--output", f"out/{LONGEST}"),
            prepare=_renamed("photo.png", LONGEST),
        ),
        "300 bytes": Surrounding((*SEGMENTED[:-1], f"{'x' * 300}.png"), exit_codes=(2,)),
        "5000 bytes": Surrounding(("inspect", "x/" * 2500 + "a.onnx"), exit_codes=(2,)),
        "an empty name": Surrounding(("inspect", ""), exit_codes=(2,)),
        "a null byte": Surrounding(("inspect", "a\0.onnx"), exit_codes=(2,)),
        "two dashes": Surrounding(("inspect", "--", "--quiet.onnx"), exit_codes=(2,)),
    }
)
WRITING = (
    SEGMENT,
    "segment clip.mp4 --model toy.fp32.onnx --output out.mp4",
    "convert toy.pth out.safetensors",
    f"{BENCHMARK} --json out.json",
    "report record.json --markdown page.md",
    "evaluate toy.fp32.onnx --data data --dataset data/dataset.json --json out.json",
)
DISKS: Mapping[str, Surrounding] = MappingProxyType(
    {
        f"{command.split()[0]} {command.split()[-1]}: {name}": Surrounding(
            tuple(command.split()), limits, (2,), prepare
        )
        for command in WRITING
        for name, limits, prepare in (
            ("a folder that takes nothing", Limits(unprivileged=True), _sealed),
            ("a file larger than allowed", Limits(file_bytes=200), lambda _: None),
        )
        # a mask or a page of less than 200 bytes fits
        if not (limits.file_bytes and command.startswith(("report", SEGMENT)))
    }
)
SURROUNDINGS: Mapping[str, Mapping[str, Surrounding]] = MappingProxyType(
    {
        "pictures": PICTURES,
        "class counts": CLASS_COUNTS,
        "streams": {**STREAMS, **FAILING_WITHOUT_STREAMS},
        "names": NAMES,
        "folders and disks": DISKS,
    }
)
