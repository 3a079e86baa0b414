"""Finding and reading labelled images: the one way in, for training, evaluation and checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from refinenet.data.classes import Palette
from refinenet.data.labels import read_classes, read_label
from refinenet.data.layout import Dataset, list_names
from refinenet.data.table import CAMVID, DATASETS, VOC
from runtime.card import Card
from runtime.card_format import voc_palette
from runtime.errors import InputError
from runtime.files import existing_file, existing_folder
from runtime.frames import Frame, Mask, read_frame
from runtime.photo import UPRIGHT, orientation

__all__ = [
    "CAMVID",
    "DATASETS",
    "VOC",
    "Dataset",
    "LabelledImages",
    "Palette",
    "check_classes",
    "find_dataset",
    "open_dataset",
    "open_split",
    "read_label",
    "voc_palette",
]

DESCRIPTIONS = (".json", ".yaml", ".yml")


@dataclass(frozen=True)
class LabelledImages:
    """The images and labels of one split, read on demand."""

    dataset: Dataset
    pairs: tuple[tuple[Path, Path], ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> tuple[Frame, Mask]:
        """The frame, (H, W, 3) uint8 BGR, and its label, (H, W) uint8 class ids.

        Raises InputError if a file is missing or broken, if the sizes differ, or if the label holds
        an id that is neither a class nor the ignore id.
        """
        image_path, label_path = self.pairs[index]
        frame = read_frame(image_path, turned=self.dataset.turned)
        label = read_classes(label_path, self.dataset)
        if label.shape != frame.shape[:2]:
            raise InputError(
                f"{label_path} is {label.shape[0]}x{label.shape[1]}, its image "
                f"{frame.shape[0]}x{frame.shape[1]}; expected the same size"
                + self._turned_hint(image_path, label.shape)
            )
        return frame, label

    def _turned_hint(self, image: Path, size: tuple[int, ...]) -> str:
        """What to do where EXIF alone is why the sizes differ."""
        stated = orientation(image)
        if stated == UPRIGHT or read_frame(image, turned=not self.dataset.turned).shape[:2] != size:
            return ""
        if self.dataset.turned:
            return (
                f". EXIF turns the image (orientation {stated}), and the label is drawn on its "
                'pixels as they lie: say "exif": "ignore" in a description of the data'
            )
        return (
            f". EXIF turns the image (orientation {stated}), and the label is drawn on the turned "
            'one: leave "exif": "ignore" out of the description'
        )


def open_dataset(name: str, root: str | Path, split: str) -> LabelledImages:
    """Find the images and labels of a split.

    name: a key of DATASETS, or a .json or .yaml file that describes a dataset. root: the dataset's
    folder. split: train, val, …

    Raises InputError for an unknown dataset or split, a malformed description, or a missing or
    empty list of the split.
    """
    return open_split(find_dataset(name), root, split)


def check_classes(images: LabelledImages, name: str, card: Card, of: str | Path) -> None:
    """InputError unless the labels have as many classes as the card; name: of the dataset, of: what
    the card is of."""
    if len(card.classes) != len(images.dataset.classes):
        raise InputError(
            f"{of} knows {len(card.classes)} classes, {name} has {len(images.dataset.classes)}; "
            "choose the dataset that it was trained on"
        )


def find_dataset(name: str) -> Dataset:
    """A dataset of the table, or one described by a file; InputError for anything else."""
    if name in DATASETS:
        return DATASETS[name]
    if Path(name).suffix.lower() in DESCRIPTIONS:
        # Here, so that the datasets of the table need no PyYAML.
        from refinenet.data.description import read_description

        return read_description(existing_file(name))
    raise InputError(
        f"unknown dataset '{name}'; expected one of {', '.join(DATASETS)}, "
        "or a .json or .yaml file that describes yours"
    )


def open_split(dataset: Dataset, root: str | Path, split: str) -> LabelledImages:
    """Find the images and labels of a split of a dataset. See open_dataset."""
    root = existing_folder(root)
    if split not in dataset.splits:
        raise InputError(f"unknown split '{split}'; expected one of {', '.join(dataset.splits)}")
    layout = dataset.splits[split]
    return LabelledImages(
        dataset, tuple(layout.pair(root, name) for name in list_names(layout, root))
    )
