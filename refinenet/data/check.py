"""What is wrong with labelled images, and how often each class occurs in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from refinenet.data.datasets import LabelledImages, find_dataset, open_split, read_label
from refinenet.data.layout import NAME, UNKNOWN, Dataset, list_names, names_on_disk
from refinenet.data.notes import TURNED, absent_classes
from runtime.errors import InputError
from runtime.files import existing_folder, sha256_of
from runtime.frames import Mask
from runtime.photo import Peculiarities, left_out, turned_note

UNION = "trainval"  # VOC's name for train and val together: checked only when it is asked for
SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class CheckOptions:
    """data: the dataset's folder. splits: the ones to check; empty for all that are there."""

    data: Path
    dataset: str = "camvid"
    splits: tuple[str, ...] = ()
    quiet: bool = False


@dataclass
class Census:
    """What the readable images of a split hold.

    sizes: how many images have which (height, width). pixels: by id, (256,).
    images: how many hold the id, (256,). unknown: pixels of labels that were refused, by an id
    that means nothing, (256,). seen: what is peculiar about the images.
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    images: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    unknown: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    seen: Peculiarities = field(default_factory=Peculiarities)

    def add(self, label: Mask) -> None:
        counts = np.bincount(label.ravel(), minlength=256)
        height, width = label.shape
        self.sizes[height, width] += 1
        self.pixels += counts
        self.images += counts > 0


@dataclass(frozen=True)
class Findings:
    """census: by split. absent: splits of the dataset that are not in this folder.
    notes: what is no fault, and may still spoil a training.
    """

    dataset: Dataset
    census: dict[str, Census]
    absent: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_dataset(options: CheckOptions) -> Findings:
    """Read every image with its label and count the classes.

    A problem is a missing or unreadable file, a label of another size than its image, an id without
    meaning, a label without an image, or an image that is in two splits.

    Raises InputError if the dataset is unknown, or none or not all of the splits asked for are
    there.
    """
    dataset, root = find_dataset(options.dataset), existing_folder(options.data)
    chosen = options.splits or _splits_there(dataset, root)
    splits = {split: open_split(dataset, root, split) for split in chosen}
    census, problems = {split: Census() for split in splits}, _orphans(dataset, root, chosen)
    seen: dict[str, tuple[str, Path]] = {}
    total = sum(len(images) for images in splits.values())
    # None: shown on a terminal only
    with tqdm(total=total, desc="check", unit="image", disable=options.quiet or None) as bar:
        for split, images in splits.items():
            for index in range(len(images)):
                problems += _check_pair(images, index, census[split])
                problems += _duplicate(images.pairs[index][0], split, seen)
                bar.update()
    looked_for = options.splits or dataset.splits
    absent = tuple(split for split in looked_for if split not in splits and split != UNION)
    notes = [note for split in splits for note in _notes(dataset, split, census[split], root)]
    return Findings(dataset, census, absent, tuple(problems), tuple(notes))


def _notes(dataset: Dataset, split: str, census: Census, root: Path) -> list[str]:
    notes = absent_classes(dataset, census.pixels, census.unknown)
    if dataset.turned:
        notes += turned_note(census.seen.turned, TURNED)
    notes += census.seen.dark_notes()
    layout = dataset.splits[split]
    if layout.names is None and (others := left_out(layout.folder(root))):
        notes.append(others)
    return [f"{split}: {note}" for note in notes]


def _splits_there(dataset: Dataset, root: Path) -> tuple[str, ...]:
    there = tuple(
        split for split, layout in dataset.splits.items() if split != UNION and layout.exists(root)
    )
    if not there:
        expected = " or ".join(
            str(layout.names if isinstance(layout.names, str) else layout.images)
            for layout in dataset.splits.values()
        )
        raise InputError(f"{root} holds no split of this dataset; expected {expected} in it")
    return there


def _check_pair(images: LabelledImages, index: int, census: Census) -> list[str]:
    """Read a pair and count its classes, or say what is wrong with it."""
    image, label = images.pairs[index]
    if missing := [path for path in (image, label) if not path.exists()]:
        return [f"{path} is missing" for path in missing]
    try:
        frame, ids = images.read(index)
        census.add(ids)
        census.seen.see(image, frame)
    except InputError as error:
        _count_ids(label, images.dataset, census)
        return [str(error)]
    return []


def _count_ids(label: Path, dataset: Dataset, census: Census) -> None:
    """Count the ids of a label that was refused: they may show what all labels mean."""
    with suppress(InputError):
        counts = np.bincount(read_label(label).ravel(), minlength=256)
        means_nothing = dataset.id_table == UNKNOWN
        if dataset.id_map or not counts[means_nothing].any():
            return
        census.unknown += np.where(means_nothing, counts, 0)
        census.pixels += np.where(means_nothing, 0, counts)


def _duplicate(image: Path, split: str, seen: dict[str, tuple[str, Path]]) -> list[str]:
    """Whether an image, by its content, is in another split as well."""
    if not image.is_file():
        return []
    other_split, other = seen.setdefault(sha256_of(image), (split, image))
    return [] if other_split == split else [f"{image} of {split} is {other} of {other_split}"]


def _orphans(dataset: Dataset, root: Path, chosen: Sequence[str]) -> list[str]:
    """Labels without an image, in splits that consist of whatever is there."""
    layouts = [dataset.splits[split] for split in chosen]
    orphans: list[Path] = []
    for pattern in dict.fromkeys(layout.labels for layout in layouts if layout.names is None):
        sharing = [layout for layout in dataset.splits.values() if layout.labels == pattern]
        if not all(layout.exists(root) for layout in sharing):
            continue  # the labels may belong to the split that is not there
        found = {root / pattern.replace(NAME, name) for name in names_on_disk(root, pattern)}
        for layout in sharing:
            found -= {layout.pair(root, name)[1] for name in list_names(layout, root)}
        orphans += sorted(found)
    return [f"{label} has no image" for label in orphans]


def table(findings: Findings) -> str:
    """The splits, and for every class its share of the labelled pixels and its images, as text."""
    dataset, census = findings.dataset, findings.census
    rows = [f"{split}: {_sizes(census[split])}" for split in census]
    rows += [f"{split}: not there" for split in findings.absent]
    width = max(len(name) for name in (*dataset.classes, "(ignored)"))
    header = "".join(f"  {f'{split} %':>10}  {'images':>7}" for split in census)
    rows += ["", f"{'class':<{width}}{header}"]
    for index, name in enumerate(dataset.classes):
        rows.append(f"{name:<{width}}" + "".join(_cells(census[s], index, dataset) for s in census))
    ignored = "".join(_cells(census[split], dataset.ignore_id, dataset) for split in census)
    rows += [f"{'(ignored)':<{width}}{ignored}", "", "%: of the labelled pixels; ignored: of all"]
    return "\n".join(rows)


def problem_list(findings: Findings) -> str:
    """The first problems, and how many more there are."""
    shown = [f"problem: {problem}" for problem in findings.problems[:SHOWN_PROBLEMS]]
    if more := len(findings.problems) - len(shown):
        shown.append(f"… and {more} more")
    return "\n".join(shown)


def note_list(findings: Findings) -> str:
    """One line for each note."""
    return "\n".join(f"note: {note}" for note in findings.notes)


def class_shares(census: Census, num_classes: int) -> NDArray[np.float64]:
    """Each class's share of the labelled pixels, (C,), 0 to 1; zeros where nothing is labelled."""
    counts = census.pixels[:num_classes]
    shares: NDArray[np.float64] = counts / max(1, counts.sum())
    return shares


def _cells(census: Census, index: int, dataset: Dataset) -> str:
    if index == dataset.ignore_id:
        share = census.pixels[index] / max(1, census.pixels.sum())
    else:
        share = class_shares(census, len(dataset.classes))[index]
    return f"  {100 * share:10.4f}  {census.images[index]:7d}"


def _sizes(census: Census) -> str:
    count = census.sizes.total()
    if not count:
        return "no readable image"
    sizes = sorted(census.sizes, key=lambda size: size[0] * size[1])
    smallest, largest = (f"{height}x{width}" for height, width in (sizes[0], sizes[-1]))
    several = f" to {largest} ({len(sizes)} sizes)" if len(sizes) > 1 else ""
    return f"{count} readable images, {smallest}{several}"
