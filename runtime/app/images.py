"""An image, or a folder of them, to PNG files of masks or overlays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

from tqdm import tqdm

from runtime.errors import InputError
from runtime.frames import Frame, Mask, list_images, read_frame
from runtime.segmenter import Segmenter, with_masks

Write = Callable[[Path, Frame, Mask], None]


def plan(source: Path, output: Path) -> list[tuple[Path, Path]]:
    """Every image and the PNG that will be written for it.

    An image goes to `output` if that ends in .png, else into the folder `output`; a folder's images
    go into the folder `output` under their own names and sub-folders.

    Raises InputError if there is no image, if two would go to one file, or if one would be
    overwritten.
    """
    if source.is_dir():
        images = list_images(source)
        targets = [(output / image.relative_to(source)).with_suffix(".png") for image in images]
    else:
        images, targets = [source], [_single_target(source, output)]
    if source.is_dir() and output.is_file():
        raise InputError(f"{source} is a folder and {output} a file; name a folder for the output")
    # realpath: Path.resolve() raises where a link leads to itself, and reading says so better.
    originals = {os.path.realpath(image) for image in images}
    taken: dict[Path, Path] = {}
    for image, target in zip(images, targets, strict=True):
        if os.path.realpath(target) in originals:
            raise InputError(f"{target} would overwrite an input; choose another --output")
        if target in taken:
            raise InputError(
                f"{image} and {taken[target]} would both be written to {target}; rename one"
            )
        taken[target] = image
    return list(zip(images, targets, strict=True))


def segment_images(
    segmenter: Segmenter, planned: Sequence[tuple[Path, Path]], write: Write, *, quiet: bool = False
) -> int:
    """Segment every image and hand it to `write` with the path to write to.

    Returns the number of images. Raises InputError for one that cannot be read; those before it
    are written.
    """
    # None: tqdm shows a bar on a terminal only.
    disable = True if quiet else None
    frames = ((target, read_frame(image)) for image, target in planned)
    pairs = with_masks(segmenter, frames, itemgetter(1))
    for (target, frame), mask in tqdm(pairs, total=len(planned), unit="image", disable=disable):
        write(target, frame, mask)
    return len(planned)


def _single_target(image: Path, output: Path) -> Path:
    if output.suffix.lower() == ".png":
        return output
    if output.suffix and not output.is_dir():
        raise InputError(f"{output} ends in {output.suffix}; a mask is written as .png")
    return output / f"{image.stem}.png"
