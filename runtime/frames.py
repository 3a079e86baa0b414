"""Frames in memory: (H, W, 3) uint8 in OpenCV's BGR order."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.files import existing_file, existing_folder, files_below

Frame = NDArray[np.uint8]  # (H, W, 3) BGR
Mask = NDArray[np.uint8]  # (H, W) class ids

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def read_frame(path: str | Path) -> Frame:
    """Read an image as (H, W, 3) uint8 BGR: grey becomes colour, alpha is dropped, 16 bits become
    8, and the EXIF orientation is applied. InputError if it is no image."""
    path = existing_file(path)
    try:
        with decoder_complaints() as complaints:
            frame = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
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
        raise InputError(f"{path} is not an image that OpenCV can read, or is cut short")
    # OpenCV fills the rest of a JPEG that is cut short with grey, and libjpeg tells stderr alone.
    if "premature end" in complaints.getvalue().lower():
        raise InputError(f"{path} is cut short or damaged; copy it again")
    return np.asarray(frame, np.uint8)


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
        raise InputError(f"{folder} holds no image ({', '.join(IMAGE_ENDINGS)})")
    return images


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
