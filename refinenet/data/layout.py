"""How a dataset is described: its classes, and where the images and labels of each split lie."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from refinenet.data.classes import Palette
from runtime.errors import InputError
from runtime.files import small_text
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
            return (root / self.names).is_file()
        return (root / self.images.partition(NAME)[0].rpartition("/")[0]).is_dir()

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
    """

    classes: tuple[str, ...]
    palette: Palette
    ignore_id: int
    splits: Mapping[str, Split]
    license_note: str = ""
    id_map: Mapping[int, int] = field(default_factory=dict)

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
        names = _listed_names(Path(source))
    else:
        source, names = "the list of the split", split.names
    if not names:
        raise InputError(f"{source} names no image")
    return names


def names_on_disk(root: Path, pattern: str) -> tuple[str, ...]:
    """What {name} in the pattern stands for in the files below root, in order; it may hold folders.

    Links to folders are followed, since datasets are often put together from them.
    """
    escaped = re.escape(pattern).replace(re.escape(NAME), "(.+)", 1)
    matcher = re.compile(escaped.replace(re.escape(NAME), r"\1"))
    top = root / pattern.partition(NAME)[0].rpartition("/")[0]
    found = (
        matcher.fullmatch((Path(folder) / file).relative_to(root).as_posix())
        for folder, _, files in os.walk(top, followlinks=True)
        for file in files
        if not file.startswith(".")
    )
    return tuple(sorted(match[1] for match in found if match))


def _listed_names(path: Path) -> tuple[str, ...]:
    """The first word of every line: a name, or the path of an image, of which the stem counts."""
    words = (line.split()[0] for line in small_text(path).splitlines() if line.strip())
    return tuple(
        Path(word).stem if word.lower().endswith(IMAGE_ENDINGS) else word for word in words
    )


def _shifted(name: str, shift: int) -> str:
    """The name with its last number raised, at the same width."""
    number = re.search(r"\d+$", name)
    if not shift or not number:
        return name
    return f"{name[: number.start()]}{int(number[0]) + shift:0{len(number[0])}d}"
