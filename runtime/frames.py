"""Frames in memory: (H, W, 3) uint8 in OpenCV's BGR order."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.files import existing_file, existing_folder, files_below
from runtime.photo import left_out, orientation

Frame = NDArray[np.uint8]  # (H, W, 3) BGR
Mask = NDArray[np.uint8]  # (H, W) class ids

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def read_frame(path: str | Path, *, turned: bool = True) -> Frame:
    """Read an image as (H, W, 3) uint8 BGR: grey becomes colour, alpha is dropped, 16 bits become
    the upper 8 of them. InputError if it is no image.

    turned: apply the EXIF orientation, as viewers do; otherwise the pixels stay as they lie.
    """
    path = existing_file(path)
    flags = cv2.IMREAD_COLOR | (0 if turned else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        with decoder_complaints() as complaints:
            frame = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the disk") from error
    except cv2.error as error:
        if "MAX_IMAGE" in error.err:
            raise InputError(
                f"{path} has too many pixels for one frame; cut it up, or raise "
                "OPENCV_IO_MAX_IMAGE_PIXELS"
            ) from error
        raise InputError(f"{path} cannot be decoded: {error.err}") from error
    if frame is None:
        raise InputError(f"{path} {_what_it_is(path)}")
    # OpenCV fills the rest of a JPEG that is cut short with grey, and libjpeg tells stderr alone.
    if "premature end" in complaints.getvalue().lower():
        raise InputError(f"{path} is cut short or damaged; copy it again")
    if not turned and path.suffix.lower() in (".tif", ".tiff"):
        frame = _as_it_lies(frame, path)  # OpenCV turns these in any case
    return np.asarray(frame, np.uint8)


def _what_it_is(path: Path) -> str:
    """Of a file that OpenCV does not decode: telephones write HEIC under any name."""
    with path.open("rb") as file:
        head = file.read(32)
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        return "holds a HEIC image, whatever its name; convert it to JPEG or PNG"
    return "is not an image that OpenCV can read, or is cut short"


def _as_it_lies(frame: Frame, path: Path) -> Frame:
    """Undo what EXIF's orientation has done to a frame."""
    undo: dict[int, Callable[[Frame], Frame]] = {
        2: lambda shown: shown[:, ::-1],
        3: lambda shown: shown[::-1, ::-1],
        4: lambda shown: shown[::-1],
        5: lambda shown: shown.swapaxes(0, 1),
        6: lambda shown: np.rot90(shown),
        7: lambda shown: shown[::-1, ::-1].swapaxes(0, 1),
        8: lambda shown: np.rot90(shown, -1),
    }
    stated = orientation(path)
    return np.ascontiguousarray(undo[stated](frame)) if stated in undo else frame


@contextmanager
def decoder_complaints() -> Iterator[io.StringIO]:
    """What the decoders, in C, write to stderr in this block; it does not reach the terminal."""
    said = io.StringIO()
    with _redirecting:
        stderr = os.dup(2)
        out, into = os.pipe()
        os.set_blocking(into, False)  # a decoder that says more than a pipe holds must not wait
        os.dup2(into, 2)
        os.close(into)
        try:
            yield said
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            with os.fdopen(out, errors="replace") as text:
                said.write(text.read())


_redirecting = threading.Lock()  # there is one stderr for all threads


def list_images(folder: str | Path) -> list[Path]:
    """The images of a folder and of those below it, by name; InputError if there are none.

    Hidden files are passed over, links to folders are followed; see runtime.files.files_below.
    """
    folder = existing_folder(folder)
    images = sorted(p for p in files_below(folder) if p.suffix.lower() in IMAGE_ENDINGS)
    if not images:
        others = left_out(folder)
        said = f"; {others}" if others else ""
        raise InputError(f"{folder} holds no image ({', '.join(IMAGE_ENDINGS)}){said}")
    return images


def in_channel_order(frames: Frame, order: str) -> Frame:
    """Frames, (…, 3) in BGR order, as a file takes them that asks for BGR or RGB; a view."""
    return frames if order == "BGR" else frames[..., ::-1]


def check_gpu_order(name: str, order: str) -> None:
    """InputError where frames on the GPU cannot be given as they are; name: of the file."""
    if order != "BGR":
        raise InputError(
            f"a frame on the GPU, and {name} takes {order}, as its card says; give a numpy array "
            "in BGR order, or put the channel order into the file"
        )


def check_frame(frame: Frame) -> None:
    """InputError unless it is one (H, W, 3) uint8 array with at least one pixel."""
    _check_array("frame", frame, 3, "(H, W, 3)")


def check_batch(frames: Frame) -> None:
    """InputError unless it is one (N, H, W, 3) uint8 array with at least one pixel."""
    _check_array("batch of frames", frames, 4, "(N, H, W, 3)")


def check_out(out: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """InputError unless `out` can take a result of this shape and dtype."""
    if out.shape != shape or out.dtype != dtype:
        raise InputError(
            f"out= is {_described(out)}; expected {shape} {dtype.name}: "
            "give an array like the result, or leave it out"
        )
    if not out.flags.writeable:
        raise InputError("out= is read-only; give an array that can be written to, or leave it out")


def _check_array(name: str, array: object, ndim: int, shape: str) -> None:
    if (
        not isinstance(array, np.ndarray)
        or array.dtype != np.uint8
        or array.ndim != ndim
        or array.shape[-1] != 3
        or array.size == 0
    ):
        raise InputError(
            f"a {name} is {_described(array)}; expected {shape} uint8 in BGR order, "
            "as cv2.imread returns it"
        )


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.shape} {value.dtype.name}"
    return f"of type {type(value).__name__}"


def images_of(source: str | Path) -> list[Path]:
    """A single image, or the images of a folder."""
    source = Path(source)
    return [source] if source.is_file() else list_images(source)
