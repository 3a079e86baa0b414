"""What the backends saw, kept beside a record: a few frames, and every backend's mask of each.

One .npz file, so that the page can show the very masks of the benchmark without running it again.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.records.record import Record
from runtime.errors import InputError
from runtime.files import existing_file, written_whole
from runtime.frames import Frame, Mask

ENDING = ".pictures.npz"
LARGEST_SIDE = 8192


@dataclass(frozen=True)
class Picture:
    """One frame, (H, W, 3) uint8 BGR, and masks of it, (H, W) uint8, by the result's key."""

    frame: Frame
    masks: Mapping[str, Mask]


@dataclass(frozen=True)
class Pictures:
    """Of one record. palette: (C, 3) uint8 RGB by class id."""

    palette: NDArray[np.uint8]
    pictures: tuple[Picture, ...]


def pictures_path(record_path: str | Path) -> Path:
    """street.pictures.npz for street.json."""
    return Path(record_path).with_suffix(ENDING)


def write_pictures(path: Path, pictures: Pictures, utc: str) -> None:
    """Write them with the time of their record, its before.utc; InputError if that fails."""
    arrays: dict[str, NDArray[np.generic]] = {
        "record": np.array(utc),
        "palette": pictures.palette,
    }
    for index, picture in enumerate(pictures.pictures):
        arrays[f"frame-{index}"] = picture.frame
        arrays |= {f"mask-{index}-{key}": mask for key, mask in picture.masks.items()}
    with written_whole(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def read_pictures(path: str | Path, record: Record) -> Pictures:
    """Read them; InputError if they are damaged, or belong to another record."""
    path = existing_file(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["record"]) != record.before.utc:
                raise InputError(
                    f"{path} belongs to a record of {arrays['record']}, not to this one of "
                    f"{record.before.utc}; delete it, or measure anew with --pictures"
                )
            names = sorted(name for name in arrays.files if name.startswith("frame-"))
            found = [_picture(arrays, name.removeprefix("frame-")) for name in names]
            palette = _checked(arrays["palette"], 2, 3)
    except InputError:
        raise  # which is a ValueError too
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} does not hold a benchmark's pictures ({error}); measure anew with --pictures"
        ) from error
    return Pictures(palette, tuple(found))


def _picture(arrays: Mapping[str, NDArray[np.uint8]], index: str) -> Picture:
    frame = _checked(arrays[f"frame-{index}"], 3, 3)
    prefix = f"mask-{index}-"
    masks = {
        name.removeprefix(prefix): _checked(arrays[name], 2, frame.shape[1])
        for name in arrays
        if name.startswith(prefix)
    }
    if any(mask.shape != frame.shape[:2] for mask in masks.values()):
        raise ValueError("masks of another size than their frame")
    return Picture(frame, masks)


def _checked(array: NDArray[np.uint8], dimensions: int, last: int) -> NDArray[np.uint8]:
    fits = array.dtype == np.uint8 and array.ndim == dimensions and array.shape[-1] == last
    if not fits or not array.size or max(array.shape) > LARGEST_SIDE:
        raise ValueError(f"an array of {array.dtype} {array.shape}")
    return array
