"""How a dataset is described: its classes, and where the images and labels of each split lie."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refinenet.data.classes import Colour, Palette
from runtime.errors import InputError
from runtime.files import files_below, small_text
from runtime.frames import IMAGE_ENDINGS

UNKNOWN = -1
NAME = "{name}"

Names = str | tuple[str, ...] | None


@dataclass(frozen=True)
class Split:
    """Where the images and labels of one split lie.

    images, labels: paths below the dataset's root, with {name}.
    names: a text file below the root that lists them, the names themselves, or None for every
    image that is there.
    label_shift: what is added to the number that an image's name ends in to give its label's.
    """

    images: str
    labels: str
    names: Names = None
    label_shift: int = 0

    def exists(self, root: Path) -> bool:
        """Whether the list of the split, or else its folder of images, is there."""
        if isinstance(self.names, str):
            return _is_file(root / self.names)
        return self.folder(root).is_dir()

    def folder(self, root: Path) -> Path:
        """The folder that the images lie in or below."""
        return root / self.images.partition(NAME)[0].rpartition("/")[0]

    def pair(self, root: Path, name: str) -> tuple[Path, Path]:
        """The paths of an image and of its label."""
        label_name = _shifted(name, self.label_shift)
        return (
            root / self.images.replace(NAME, name),
            root / self.labels.replace(NAME, label_name),
        )


@dataclass(frozen=True)
class Dataset:
    """What a dataset's labels mean and where its files lie.

    ignore_id: the id of pixels without a class, once the labels are mapped.
    id_map: what each id in the label files becomes, a class or the ignore id; empty where the
    files hold these themselves.
    by_colour: whether an RGB label's colours are those of the palette.
    ignore_colour: the colour of pixels without a class in such a label.
    turned: whether images are turned as their EXIF says, before they meet their labels.
    """

    classes: tuple[str, ...]
    palette: Palette
    ignore_id: int
    splits: Mapping[str, Split]
    license_note: str = ""
    id_map: Mapping[int, int] = field(default_factory=dict)
    by_colour: bool = False
    ignore_colour: Colour | None = None
    turned: bool = True

    @cached_property
    def id_table(self) -> NDArray[np.int16]:
        """What each id in the label files becomes, (256,) int16; UNKNOWN where it means nothing."""
        known = range(len(self.classes))
        id_map = self.id_map or {i: i for i in (*known, self.ignore_id)}
        table = np.full(256, UNKNOWN, np.int16)
        table[list(id_map)] = list(id_map.values())
        return table


def splits_of(names: Mapping[str, Names], images: str, labels: str) -> dict[str, Split]:
    """Splits that lie in the same way; {split} stands for their names."""
    return {
        split: Split(
            images.replace("{split}", split),
            labels.replace("{split}", split),
            listed.replace("{split}", split) if isinstance(listed, str) else listed,
        )
        for split, listed in names.items()
    }


def list_names(split: Split, root: Path) -> tuple[str, ...]:
    """The names of a split's images; InputError if their list is missing or there are none."""
    if split.names is None:
        names = names_on_disk(root, split.images)
        source = str(root / split.images.replace(NAME, "*"))
    elif isinstance(split.names, str):
        source = str(root / split.names)
        names = listed_names(small_text(source), split, root)
    else:
        source = "the list of the split"
        names = tuple(_name_of(name, split, root) for name in split.names)
    if not names:
        raise InputError(f"{source} names no image")
    return names


def names_on_disk(root: Path, pattern: str) -> tuple[str, ...]:
    """What {name} in the pattern stands for in the files below root, in order; it may hold folders.

    Links to folders are followed, hidden files are passed over.
    """
    escaped = re.escape(pattern).replace(re.escape(NAME), "(.+)", 1)
    matcher = re.compile(escaped.replace(re.escape(NAME), r"\1"))
    top = root / pattern.partition(NAME)[0].rpartition("/")[0]
    if not top.is_dir():
        return ()
    found = (matcher.fullmatch(path.relative_to(root).as_posix()) for path in files_below(top))
    return tuple(sorted(match[1] for match in found if match))


def listed_names(text: str, split: Split, root: Path) -> tuple[str, ...]:
    """The names in the text of a list, one a line; empty lines are passed over."""
    lines = re.split(r"\r\n|\r|\n", text)
    return tuple(_name_of(line, split, root) for line in lines if line.strip())


def _name_of(line: str, split: Split, root: Path) -> str:
    """The name that a line of a list stands for.

    A line is a name exactly as it stands, with its folders and its spaces. Lists of other tools
    hold paths instead. So where no image has that name, the first of the other readings counts that
    an image has; where none has one, the line stands for what it most probably meant, and whoever
    opens the image says that it is missing. No reading leaves a folder out: that would be
    another image.
    """
    readings = list(dict.fromkeys(_readings(line, split)))
    there = (name for name in readings if _is_file(split.pair(root, name)[0]))
    return next(there, None) or readings[-1]


def _readings(line: str, split: Split) -> Iterator[str]:
    """The names that a line may stand for, the most literal first."""
    yield line
    stripped = line.strip()
    yield stripped
    path = stripped.replace("\\", "/")  # of a list that Windows wrote
    yield path
    yield _without_image_ending(path)
    head, _, tail = split.images.partition(NAME)
    if NAME not in tail:
        # An image's path, from the root or from another machine's, alone or before its label's.
        for image in (path, *_first_of_a_pair(path, split)):
            whole = re.search(f"(?:^|/){re.escape(head)}(.+){re.escape(tail)}$", image)
            if whole:
                yield whole[1]


def _first_of_a_pair(line: str, split: Split) -> Iterator[str]:
    """The image's path in a line that holds its label's path too."""
    label_ending = Path(split.labels).suffix
    for match in re.finditer(r"\s+", line):
        image, label = line[: match.start()], line[match.end() :]
        are_paths = image.lower().endswith(IMAGE_ENDINGS) and label.endswith(label_ending)
        if are_paths and _shifted(Path(image).stem, split.label_shift) == Path(label).stem:
            yield image


def _without_image_ending(path: str) -> str:
    ending = next((e for e in IMAGE_ENDINGS if path.lower().endswith(e)), "")
    return path[: len(path) - len(ending)]


def _shifted(name: str, shift: int) -> str:
    """The name with its last number raised, at the same width."""
    number = re.search(r"\d+$", name)
    if not shift or not number:
        return name
    return f"{name[: number.start()]}{int(number[0]) + shift:0{len(number[0])}d}"


def _is_file(path: Path) -> bool:
    """False too for a name that no file system takes."""
    try:
        return path.is_file()
    except OSError:
        return False
