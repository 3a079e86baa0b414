"""From a label file to class ids: every kind of image whose pixels say exactly what they are.

Pillow reads them, because OpenCV would expand a palette to colours.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from refinenet.data.layout import UNKNOWN, Dataset
from runtime.errors import InputError
from runtime.files import existing_file
from runtime.frames import Mask

# Pillow's names of formats that give every pixel back as it was written.
LOSSLESS = ("PNG", "TIFF", "BMP", "DIB", "GIF", "PPM", "TGA", "PCX", "SGI", "SUN")
LOSSLESS_TIFF = (
    "raw",
    "tiff_lzw",
    "tiff_adobe_deflate",
    "tiff_deflate",
    "packbits",
    "zstd",
    "lzma",
)
BILEVEL_TIFF = ("group3", "group4", "tiff_ccitt", "tiff_raw_16", "tiff_thunderscan")

IDS = ("1", "L", "P", "I", "F")  # modes of one number a pixel; I;16 and its byte orders too
WITH_ALPHA = ("LA", "PA", "RGBA")
# Pillow spreads grey of 2 and 4 bits over 0 to 255.
SPREAD_BY = MappingProxyType({"L;2": 85, "L;4": 17})
WHITE_IS_ZERO = ("L;I", "L;2I", "L;4I")

Pixels = NDArray[Any]  # (H, W) numbers, or (H, W, 3) colours


def read_label(path: Path) -> Mask:
    """The ids of a label as they stand in the file, (H, W) uint8.

    Palette images and grey ones of 1 to 32 bits; grey stored as RGB, and an alpha channel that
    hides nothing, are taken too.

    Raises InputError for a file that is missing, broken or lossy, and for pixels that are no ids.
    """
    return _as_ids(_pixels(path), path)


def read_classes(path: Path, dataset: Dataset) -> Mask:
    """A label as class ids, (H, W) uint8, with the dataset's ignore id.

    Colours become classes where the dataset says that its masks may be coloured.

    Raises what read_label raises, and InputError for an id or a colour without a meaning.
    """
    pixels = _pixels(path)
    if pixels.ndim == 3 and dataset.by_colour:
        return _classes_of_colours(pixels, path, dataset)
    ids = _as_ids(pixels, path)
    label = dataset.id_table[ids]
    if (label == UNKNOWN).any():
        raise InputError(f"{path} holds {_unknown_ids(ids, dataset)}")
    return label.astype(np.uint8)


def _pixels(path: Path) -> Pixels:
    try:
        # Pillow warns above 89 million pixels, and refuses twice as many.
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(existing_file(path)) as image,
        ):
            _check_exact(image, path)
            factor = SPREAD_BY.get(_raw_mode(image), 1)  # not known once the pixels are read
            pixels = _without_alpha(np.asarray(image), image.mode, path)
            return pixels if factor == 1 else pixels // np.uint8(factor)
    except InputError:
        raise  # which is a ValueError too
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} has too many pixels for one label; cut it up") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is not a whole label image: {error}") from error


def _check_exact(image: Image.Image, path: Path) -> None:
    """InputError for a format that changes pixels, and for a mode that no id can be read from."""
    compression = image.info.get("compression", "raw")
    in_tiff = image.format != "TIFF" or compression in (*LOSSLESS_TIFF, *BILEVEL_TIFF)
    if image.format not in LOSSLESS or not in_tiff:
        kind = f"{image.format} with {compression}" if image.format == "TIFF" else image.format
        raise InputError(
            f"{path} is a {kind} file, which may be lossy: its pixels need not be the ids that "
            "were drawn. Write the labels anew, from where they were drawn, as PNG"
        )
    if getattr(image, "n_frames", 1) > 1:
        raise InputError(f"{path} holds several pictures; expected one label. Write it as PNG")
    known = image.mode in (*IDS, *WITH_ALPHA, "RGB") or image.mode.startswith("I;16")
    if not known or _raw_mode(image) in WHITE_IS_ZERO:
        what = "has white as 0" if known else f"is a {image.mode} image"
        raise InputError(f"{path} {what}; expected ids in a palette or grey PNG")


def _raw_mode(image: Image.Image) -> str:
    """How the pixels lie in the file, by Pillow's name, such as L;4."""
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _without_alpha(pixels: Pixels, mode: str, path: Path) -> Pixels:
    if mode == "1":
        return pixels.astype(np.uint8)
    if mode == "F" and not np.array_equal(pixels, np.rint(pixels)):
        raise InputError(f"{path} holds numbers that are not whole; expected ids")
    if mode not in WITH_ALPHA:
        return pixels
    if hidden := int((pixels[..., -1] != 255).sum()):
        raise InputError(
            f"{path} has an alpha channel and {hidden} pixels that are not opaque, whose class is "
            "not known; write it without the alpha channel"
        )
    return pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]


def _as_ids(pixels: Pixels, path: Path) -> Mask:
    if pixels.ndim == 3:
        if (pixels != pixels[..., :1]).any():
            raise InputError(
                f"{path} is an RGB image and its pixels are colours; expected ids in a palette or "
                'grey PNG. If each class has a colour of its own, give them as "palette" of a '
                "description; see docs/datasets.md"
            )
        pixels = pixels[..., 0]
    for extreme in (pixels.max(initial=0), pixels.min(initial=0)):
        if not 0 <= extreme <= 255:
            raise InputError(f"{path} holds the id {extreme:.0f}; expected 0 to 255")
    return pixels.astype(np.uint8)


def _classes_of_colours(pixels: Pixels, path: Path, dataset: Dataset) -> Mask:
    """(H, W, 3) colours to (H, W) class ids, by the palette."""
    colours = dict(zip(dataset.palette, range(len(dataset.palette)), strict=True))
    if len(colours) < len(dataset.palette):
        raise InputError(
            f"{path} is an RGB image, and two classes of the palette have the same colour; give "
            "each class a colour of its own"
        )
    if dataset.ignore_colour is not None:
        colours[dataset.ignore_colour] = dataset.ignore_id
    known = np.array([_code(colour) for colour in colours])
    order = np.argsort(known)
    codes = _code(np.moveaxis(pixels.astype(np.int64), 2, 0))
    places = order[np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)]
    strange = known[places] != codes
    if strange.any():
        first = pixels[tuple(np.argwhere(strange)[0])].tolist()
        number = len(np.unique(codes[strange]))
        raise InputError(
            f"{path} is an RGB image and holds {number} colours that no class has, such as "
            f"{first}; expected those of the palette. Pixels without a class: give their colour "
            'as "ignore_colour" of a description'
        )
    return np.asarray(np.array(list(colours.values()), np.uint8)[places])


def _code(colour: Any) -> Any:
    """One number for red, green and blue."""
    red, green, blue = colour
    return (red * 256 + green) * 256 + blue


def _unknown_ids(ids: Mask, dataset: Dataset) -> str:
    """Which ids of a label have no meaning, and which would have one."""
    found = [str(i) for i in np.unique(ids) if dataset.id_table[i] == UNKNOWN]
    last, ignore_id = len(dataset.classes) - 1, dataset.ignore_id
    expected = (
        f"one of {', '.join(map(str, sorted(dataset.id_map)))}"
        if dataset.id_map
        else f"0 to {last}, or {ignore_id} for ignore"
    )
    return f"the id {', '.join(found)}; expected {expected}"
