"""What an image file says beside its pixels, and what is lost where it is read as 8 bits.

The header is read with the standard library; only images that came out dark are decoded again.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.files import files_below

UPRIGHT = 1  # EXIF's orientation of an image whose pixels lie as it is shown
ORIENTATION = 0x0112  # its tag
DARK = 64  # of 8 bits: 16 bits of which at most 14 are used are no brighter

# Images that are not read here, whatever this build of OpenCV could read: a folder that works on
# one machine must work on the next.
FOREIGN = MappingProxyType(
    {
        **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
        **dict.fromkeys((".avif", ".avifs"), "AVIF"),
        **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpm"), "JPEG 2000"),
        ".jxl": "JPEG XL",
        **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"), "raw"),
        **dict.fromkeys((".exr", ".hdr"), "HDR"),
        **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PNM"),
        ".psd": "Photoshop",
    }
)
CONVERT = "convert to JPEG or PNG"


@dataclass
class Peculiarities:
    """What is worth knowing of the images of a run, said once for all of them.

    turned: images that EXIF turns. dark: images of 16 bits that use fewer, with how many.
    """

    turned: list[Path] = field(default_factory=list)
    dark: list[tuple[Path, int]] = field(default_factory=list)

    def see(self, path: Path, frame: NDArray[np.uint8]) -> None:
        """Note what is peculiar about an image; frame: (H, W, 3), as read_frame gave it."""
        if orientation(path) != UPRIGHT:
            self.turned.append(path)
        if frame.max(initial=0) < DARK and (bits := used_bits(path)):
            self.dark.append((path, bits))

    def dark_notes(self) -> list[str]:
        if not self.dark:
            return []
        path, bits = self.dark[0]
        return [
            f"{_images(self.dark)} of 16 bits, such as {path}, where {bits} bits are used: the "
            "upper 8 bits are read, so that it is dark. Scale its values to 16 bits, or write "
            "8 bits"
        ]


def _images(of_a_kind: list[Path] | list[tuple[Path, int]]) -> str:
    return "1 image" if len(of_a_kind) == 1 else f"{len(of_a_kind)} images"


def turned_note(turned: list[Path], what: str) -> list[str]:
    """A line for images that EXIF turns, none where there are none; what: follows from it."""
    if not turned:
        return []
    verb = "is" if len(turned) == 1 else "are"
    return [f"{_images(turned)}, such as {turned[0]}, {verb} turned as EXIF says; {what}"]


def left_out(folder: Path) -> str | None:
    """How many images of a folder are of kinds that are not read; None where there are none."""
    kinds = Counter(kind for path in files_below(folder) if (kind := foreign_kind(path)))
    if not kinds:
        return None
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    verb = "is" if kinds.total() == 1 else "are"
    return f"{counts} in {folder} {verb} left out; {CONVERT}"


def foreign_kind(path: Path) -> str | None:
    """The kind of an image that is not read, by its ending; None for any other file."""
    return "GIF" if path.suffix.lower() == ".gif" else FOREIGN.get(path.suffix.lower())


def orientation(path: Path) -> int:
    """EXIF's orientation of a JPEG, PNG, WebP or TIFF, 1 to 8; 1 where none is stated."""
    try:
        with path.open("rb") as file:
            for place in _exif_places(file):
                if stated := _stated_orientation(file, place):
                    return stated
    except (OSError, struct.error, ValueError):
        pass  # damaged: whoever decodes the image says so, or passes over its EXIF too
    return UPRIGHT


def _exif_places(file: BinaryIO) -> Iterator[int]:
    """Where TIFF structures with EXIF begin, by their offset."""
    head = file.read(12)
    if head[:4] in (b"II*\0", b"MM\0*"):
        yield 0
    elif head[:2] == b"\xff\xd8":
        yield from _in_jpeg(file)
    elif head[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _in_chunks(file, 8, ">I4s", b"eXIf", trailer=4)
    elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
        yield from _in_chunks(file, 12, "<4sI", b"EXIF", trailer=0)


def _in_jpeg(file: BinaryIO) -> Iterator[int]:
    position = 2
    while True:
        file.seek(position)
        mark, kind, length = struct.unpack(">BBH", file.read(4))
        if mark != 0xFF or kind in (0xDA, 0xD9):  # pixels, or the end
            return
        if kind == 0xE1 and file.read(6) == b"Exif\0\0":
            yield position + 10
        position += 2 + length


def _in_chunks(
    file: BinaryIO, position: int, header: str, wanted: bytes, trailer: int
) -> Iterator[int]:
    """Of a PNG, whose chunks end in a checksum, or a WebP, whose chunks are of even length."""
    while True:
        file.seek(position)
        given = file.read(8)
        if len(given) < 8:
            return
        first, second = struct.unpack(header, given)
        kind, length = (second, first) if isinstance(second, bytes) else (first, second)
        if not kind.strip().isalnum():  # not a name: the file goes on with something else
            return
        if kind == wanted:
            prefixed = file.read(6) == b"Exif\0\0"
            yield position + (14 if prefixed else 8)
        position += 8 + length + (trailer or length % 2)


def _stated_orientation(file: BinaryIO, start: int) -> int | None:
    """Of the first directory of a TIFF structure."""
    file.seek(start)
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None:
        return None
    _, offset = struct.unpack(f"{order}HI", file.read(6))
    file.seek(start + offset)
    (count,) = struct.unpack(f"{order}H", file.read(2))
    for _ in range(count):
        tag, _, _, value, _ = struct.unpack(f"{order}HHIHH", file.read(12))
        if tag == ORIENTATION:
            return int(value) if 1 <= value <= 8 else None
    return None


def used_bits(path: Path) -> int | None:
    """How many bits of a 16-bit image its brightest value needs; None for another depth, and
    where the upper two bits are used, or none."""
    content = np.fromfile(path, np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if image is None or image.dtype != np.uint16:
        return None
    bits = int(image.max(initial=0)).bit_length()
    return bits if 0 < bits <= 14 else None
