"""An image, or a folder of them, to PNG files of masks or overlays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from tqdm import tqdm

from runtime.app.video_source import to_stderr
from runtime.errors import InputError
from runtime.frames import Frame, Mask, list_images, read_frame
from runtime.mask_stream import with_masks
from runtime.photo import Peculiarities, turned_note
from runtime.segmenter import Segmenter

Write = Callable[[Path, Frame, Mask], None]


@dataclass(frozen=True)
class ImageOptions:
    """turned: whether images are turned as their EXIF says.
    skip_broken: go on after an image that cannot be read.
    part: the images are what a shard or an earlier run left; all of them may be broken.
    report: is told in one line of each that was skipped.
    """

    turned: bool = True
    skip_broken: bool = False
    part: bool = False
    report: Callable[[str], None] = to_stderr
    quiet: bool = False


@dataclass(frozen=True)
class ImageOutcome:
    """written: how many images were segmented.
    broken: what was wrong with those that were skipped, one line each.
    notes: what the user may want to know of the images.
    """

    written: int
    broken: tuple[str, ...]
    notes: tuple[str, ...]


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
    if source.is_dir() and not output.is_dir() and (output.exists() or output.suffix):
        raise InputError(
            f"{source} is a folder of images, whose masks go into a folder; {output} "
            + ("is a file" if output.exists() else f"ends in {output.suffix}")
            + ". Name a folder, or make it first if its name has an ending"
        )
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
    segmenter: Segmenter,
    planned: Sequence[tuple[Path, Path]],
    write: Write,
    options: ImageOptions | None = None,
) -> ImageOutcome:
    """Segment every image and hand it to `write` with the path to write to.

    Raises InputError for an image that cannot be read, unless broken ones are skipped; those before
    it are written. Raises InputError too if all of them are broken.
    """
    options = options or ImageOptions()
    seen, broken = Peculiarities(), list[str]()
    frames = _read(planned, options, seen, broken)
    pairs = with_masks(segmenter, frames, itemgetter(1))
    # None: tqdm shows a bar on a terminal only.
    disable = True if options.quiet else None
    count = 0
    for (target, frame), mask in tqdm(pairs, total=len(planned), unit="image", disable=disable):
        write(target, frame, mask)
        count += 1
    if broken and not count and not options.part:
        raise InputError(f"all {len(broken)} images are broken; the first: {broken[0]}")
    if not options.turned:
        seen.turned.clear()
    keep = "--ignore-exif keeps the pixels as they lie"
    notes = [*turned_note(seen.turned, keep), *seen.dark_notes()]
    return ImageOutcome(count, tuple(broken), tuple(notes))


def _read(
    planned: Sequence[tuple[Path, Path]],
    options: ImageOptions,
    seen: Peculiarities,
    broken: list[str],
) -> Iterator[tuple[Path, Frame]]:
    for image, target in planned:
        try:
            frame = read_frame(image, turned=options.turned)
        except InputError as error:
            if not options.skip_broken:
                raise
            broken.append(str(error))
            options.report(f"skipped: {error}")
            continue
        seen.see(image, frame)
        yield target, frame


def _single_target(image: Path, output: Path) -> Path:
    if output.suffix.lower() == ".png":
        return output
    if output.suffix and not output.is_dir():
        raise InputError(f"{output} ends in {output.suffix}; a mask is written as .png")
    return output / f"{image.stem}.png"
