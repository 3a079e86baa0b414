"""Images with labels, in the layouts that datasets come in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image, UnidentifiedImageError

from runtime.errors import InputError
from runtime.files import existing_file, existing_folder
from runtime.frames import Frame, Mask, read_frame

Palette = tuple[tuple[int, int, int], ...]


def voc_palette(num_classes: int) -> Palette:
    """VOC's colours for any number of classes: the bits of the id, spread over red, green, blue."""

    def level(index: int, channel: int) -> int:
        return sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))

    return tuple((level(i, 0), level(i, 1), level(i, 2)) for i in range(num_classes))


@dataclass(frozen=True)
class Dataset:
    """What a dataset's labels mean and where its files lie.

    image, label, split_list: paths below the root, with {split} and {name} filled in.
    """

    classes: tuple[str, ...]
    palette: Palette
    ignore_id: int
    image: str
    label: str
    split_list: str
    license_note: str


CAMVID = Dataset(
    classes=(
        *("sky", "building", "pole", "road", "pavement", "tree", "sign_symbol"),
        *("fence", "car", "pedestrian", "bicyclist"),
    ),
    palette=(
        *((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222)),
        *((128, 128, 0), (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0)),
        (0, 128, 192),
    ),
    ignore_id=11,
    image="images/{split}/{name}.jpg",
    label="labels/{split}/{name}.png",
    split_list="{split}.txt",
    license_note="trained on CamVid (Brostow, Fauqueur, Cipolla 2008; SegNet split, CC BY-NC 4.0): "
    "research use",
)

VOC = Dataset(
    classes=(
        *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat"),
        *("chair", "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant"),
        *("sheep", "sofa", "train", "tvmonitor"),
    ),
    palette=voc_palette(21),
    ignore_id=255,
    image="JPEGImages/{name}.jpg",
    label="SegmentationClass/{name}.png",
    split_list="ImageSets/Segmentation/{split}.txt",
    license_note="PASCAL VOC 2012 (Flickr photos): research use",
)

DATASETS = MappingProxyType({"camvid": CAMVID, "voc": VOC})


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
        frame, label = read_frame(image_path), read_label(label_path)
        if label.shape != frame.shape[:2]:
            raise InputError(
                f"{label_path} is {label.shape[0]}x{label.shape[1]}, its image "
                f"{frame.shape[0]}x{frame.shape[1]}; expected the same size"
            )
        known = (label < len(self.dataset.classes)) | (label == self.dataset.ignore_id)
        if not known.all():
            raise InputError(
                f"{label_path} holds the id {label[~known][0]}; expected 0 to "
                f"{len(self.dataset.classes) - 1}, or {self.dataset.ignore_id} for ignore"
            )
        return frame, label


def open_dataset(name: str, root: str | Path, split: str) -> LabelledImages:
    """Find the images and labels of a split.

    name: a key of DATASETS. root: the dataset's folder. split: train, val, …

    Raises InputError for an unknown dataset, or a missing or empty list of the split.
    """
    if name not in DATASETS:
        raise InputError(f"unknown dataset '{name}'; expected one of: {', '.join(DATASETS)}")
    dataset, root = DATASETS[name], existing_folder(root)
    list_file = existing_file(root / dataset.split_list.format(split=split))
    names = list_file.read_text(encoding="utf-8").split()
    if not names:
        raise InputError(f"{list_file} names no image")
    pairs = tuple(
        (
            root / dataset.image.format(split=split, name=name),
            root / dataset.label.format(split=split, name=name),
        )
        for name in names
    )
    return LabelledImages(dataset, pairs)


def read_label(path: Path) -> Mask:
    """The ids of a palette or grey PNG, (H, W) uint8.

    Pillow, because OpenCV would expand the palette to colours.
    """
    try:
        with Image.open(existing_file(path)) as image:
            if image.mode not in ("P", "L"):
                raise InputError(
                    f"{path} is a {image.mode} image; expected ids in a palette or grey PNG"
                )
            return np.asarray(image, np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"{path} is not a whole label image: {error}") from error
