"""Every dataset is found in its own layout, and its labels mean what they should.

Stand-ins of a few pixels; test_datasets.py and test_data_check.py read CamVid and VOC themselves.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from labelled_files import write_label, write_pair
from PIL import Image

from refinenet.data.datasets import DATASETS, LabelledImages, open_dataset
from refinenet.data.layout import Split, listed_names
from runtime.errors import InputError

NUM_CLASSES = {
    "camvid": 11,
    "camvid-segnet": 11,
    "voc": 21,
    "voc-sbd": 21,
    "cityscapes": 19,
    "cityscapes-trainids": 19,
    "ade20k": 150,
    "nyudv2": 40,
    "pascal-context": 60,
    "pascal-context-59": 59,
    "sun-rgbd": 37,
    "person-part": 7,
}


class Layout(NamedTuple):
    """Where one image of a split lies, its label, and the list that names it, if there is one."""

    dataset: str
    split: str
    image: str
    label: str
    listed: str = ""


LAYOUTS = [
    Layout("camvid", "test", "images/test/0001TP.jpg", "labels/test/0001TP.png", "test.txt"),
    Layout("camvid-segnet", "train", "train/0001TP.png", "trainannot/0001TP.png"),
    Layout(
        "voc",
        "train",
        "JPEGImages/2007_1.jpg",
        "SegmentationClass/2007_1.png",
        "ImageSets/Segmentation/train.txt",
    ),
    Layout(
        "voc-sbd",
        "train",
        "JPEGImages/2008_2.jpg",
        "SegmentationClassAug/2008_2.png",
        "ImageSets/Segmentation/trainaug.txt",
    ),
    Layout(
        "voc-sbd",
        "val",
        "JPEGImages/2007_3.jpg",
        "SegmentationClass/2007_3.png",
        "ImageSets/Segmentation/val.txt",
    ),
    Layout(
        "cityscapes",
        "train",
        "leftImg8bit/train/ulm/ulm_1_19_leftImg8bit.png",
        "gtFine/train/ulm/ulm_1_19_gtFine_labelIds.png",
    ),
    Layout(
        "cityscapes-trainids",
        "val",
        "leftImg8bit/val/ulm/ulm_1_19_leftImg8bit.png",
        "gtFine/val/ulm/ulm_1_19_gtFine_labelTrainIds.png",
    ),
    Layout(
        "ade20k", "train", "images/training/ADE_train_1.jpg", "annotations/training/ADE_train_1.png"
    ),
    Layout(
        "ade20k", "val", "images/validation/ADE_val_1.jpg", "annotations/validation/ADE_val_1.png"
    ),
    Layout("nyudv2", "val", "val_images/000001.png", "val_labels/000001.png"),
    Layout(
        "pascal-context",
        "train",
        "JPEGImages/2008_4.jpg",
        "59_context_labels/2008_4.png",
        "ImageSets/Main/train.txt",
    ),
    Layout(
        "pascal-context-59",
        "val",
        "JPEGImages/2008_5.jpg",
        "59_context_labels/2008_5.png",
        "ImageSets/Main/val.txt",
    ),
    Layout(
        "sun-rgbd",
        "train",
        "SUNRGBD-train_images/img-000007.jpg",
        "sunrgbd_train_test_labels/img-005057.png",
    ),
    Layout(
        "sun-rgbd",
        "val",
        "SUNRGBD-test_images/img-000007.jpg",
        "sunrgbd_train_test_labels/img-000007.png",
    ),
    Layout(
        "person-part",
        "train",
        "JPEGImages/2008_6.jpg",
        "pascal_person_part/pascal_person_part_gt/2008_6.png",
        "pascal_person_part/pascal_person_part_trainval_list/train.txt",
    ),
]


def stand_in(root: Path, layout: Layout, ids: list[list[int]]) -> LabelledImages:
    """A dataset of one image in this layout, opened."""
    write_pair(root / layout.image, root / layout.label, ids)
    if layout.listed:
        # Person-Part's lists hold both paths, as many do; the others hold names.
        paths = f"/{layout.image} /{layout.label}\n"
        name = f"{Path(layout.image).stem}\n"
        path = root / layout.listed
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(paths if layout.dataset == "person-part" else name, encoding="utf-8")
    return open_dataset(layout.dataset, root, layout.split)


def layout_of(dataset: str) -> Layout:
    return next(layout for layout in LAYOUTS if layout.dataset == dataset)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.dataset}-{layout.split}")
def test_each_layout_is_found(tmp_path: Path, layout: Layout) -> None:
    images = stand_in(tmp_path, layout, [[1, 2], [3, 4]])
    assert images.pairs == ((tmp_path / layout.image, tmp_path / layout.label),)
    frame, label = images.read(0)
    assert (frame.shape, label.shape, label.dtype) == ((2, 2, 3), (2, 2), np.uint8)


def test_every_dataset_is_tried() -> None:
    assert {layout.dataset for layout in LAYOUTS} == DATASETS.keys() == NUM_CLASSES.keys()


@pytest.mark.parametrize("name", DATASETS)
def test_classes_colours_and_ids_go_together(name: str) -> None:
    dataset = DATASETS[name]
    count = NUM_CLASSES[name]
    assert len(dataset.classes) == len(set(dataset.classes)) == len(dataset.palette) == count
    assert set(dataset.id_table) >= set(range(count)) | {dataset.ignore_id}
    assert dataset.ignore_id not in range(count)
    assert all(0 <= channel <= 255 for colour in dataset.palette for channel in colour)
    assert all(" ".join(text.split()) == text != "" for text in dataset.classes)
    assert dataset.license_note


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("cityscapes", {0: "road", 8: "vegetation", 13: "car", 18: "bicycle"}),
        ("ade20k", {0: "wall", 12: "person", 57: "pillow", 89: "television", 149: "flag"}),
        ("nyudv2", {0: "wall", 19: "floor mat", 31: "night stand", 39: "otherprop"}),
        ("pascal-context", {0: "background", 1: "aeroplane", 42: "curtain", 59: "wood"}),
        ("pascal-context-59", {0: "aeroplane", 58: "wood"}),
        ("sun-rgbd", {0: "wall", 23: "fridge", 36: "bag"}),
        ("person-part", {1: "head", 6: "lower legs"}),
    ],
)
def test_classes_are_in_the_official_order(name: str, classes: dict[int, str]) -> None:
    assert {i: DATASETS[name].classes[i] for i in classes} == classes


@pytest.mark.parametrize(
    ("name", "ids", "expected"),
    [
        ("cityscapes", [[0, 7, 8], [11, 29, 33]], [[255, 0, 1], [2, 255, 18]]),
        ("cityscapes-trainids", [[0, 18, 255]], [[0, 18, 255]]),
        ("ade20k", [[0, 1, 150]], [[255, 0, 149]]),
        ("nyudv2", [[0, 39, 255]], [[0, 39, 255]]),
        ("pascal-context", [[0, 1, 59]], [[0, 1, 59]]),
        ("pascal-context-59", [[0, 1, 59]], [[255, 0, 58]]),
        ("sun-rgbd", [[0, 1, 37]], [[255, 0, 36]]),
        ("person-part", [[0, 6, 255]], [[0, 6, 255]]),
        ("voc", [[0, 20, 255]], [[0, 20, 255]]),
    ],
)
def test_ids_become_classes(
    tmp_path: Path, name: str, ids: list[list[int]], expected: list[list[int]]
) -> None:
    assert stand_in(tmp_path, layout_of(name), ids).read(0)[1].tolist() == expected


@pytest.mark.parametrize(
    ("name", "unknown"),
    [("cityscapes", 34), ("ade20k", 151), ("nyudv2", 40), ("sun-rgbd", 38), ("voc", 21)],
)
def test_ids_without_meaning_are_refused(tmp_path: Path, name: str, unknown: int) -> None:
    with pytest.raises(InputError, match=f" {unknown}; "):
        stand_in(tmp_path, layout_of(name), [[0, unknown]]).read(0)


def test_palette_and_16_bit_labels_are_read_as_ids(tmp_path: Path) -> None:
    for mode in ("P", "I;16"):
        images = stand_in(tmp_path, layout_of("nyudv2"), [[0, 1]])
        write_label(images.pairs[0][1], [[3, 255]], mode)
        assert images.read(0)[1].tolist() == [[3, 255]]
    write_label(images.pairs[0][1], [[3, 256]], "I;16")
    with pytest.raises(InputError, match=" 256; "):
        images.read(0)


def test_a_colour_label_is_refused(tmp_path: Path) -> None:
    images = stand_in(tmp_path, layout_of("nyudv2"), [[0, 1]])
    Image.new("RGB", (2, 1), (200, 0, 0)).save(images.pairs[0][1])
    with pytest.raises(InputError, match=r'expected ids in a palette or grey PNG.*"palette"'):
        images.read(0)


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    stand_in(tmp_path / "elsewhere", layout_of("cityscapes"), [[7]])
    for folder in ("leftImg8bit", "gtFine"):
        (tmp_path / "root" / folder / "train").mkdir(parents=True)
        link = tmp_path / "root" / folder / "train/ulm"
        link.symlink_to(tmp_path / "elsewhere" / folder / "train/ulm")
    assert len(open_dataset("cityscapes", tmp_path / "root", "train")) == 1


def test_a_link_that_leads_back_is_named(tmp_path: Path) -> None:
    stand_in(tmp_path, layout_of("cityscapes"), [[7]])
    link = tmp_path / "leftImg8bit/train/ulm/again"
    link.symlink_to(tmp_path / "leftImg8bit")
    with pytest.raises(InputError, match=str(link)):
        open_dataset("cityscapes", tmp_path, "train")


def test_hidden_files_of_a_mac_are_no_images(tmp_path: Path) -> None:
    stand_in(tmp_path, layout_of("ade20k"), [[1]])
    (tmp_path / "images/training/._ADE_train_1.jpg").write_bytes(b"Mac OS X resource fork")
    assert len(open_dataset("ade20k", tmp_path, "train")) == 1


OWN = {"images": "photos/{name}.png", "labels": "masks/{name}.png", "classes": ["a", "b"]}


def listed(root: Path, names: Sequence[str], content: bytes) -> list[str]:
    """Which of the images, each with a label, a list of this content names."""
    for name in names:
        write_pair(root / f"photos/{name}.png", root / f"masks/{name}.png", [[0, 1]])
    (root / "train.txt").write_bytes(content)
    description = root / "own.json"
    description.write_text(json.dumps({**OWN, "splits": {"train": "train.txt"}}))
    pairs = open_dataset(str(description), root, "train").pairs
    assert [image.relative_to(root / "photos") for image, _ in pairs] == [
        label.relative_to(root / "masks") for _, label in pairs
    ]
    return [image.relative_to(root / "photos").with_suffix("").as_posix() for image, _ in pairs]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"day1/f0\nf0\n", ["day1/f0", "f0"]),
        (b"day1/f0.png\nf0.png\n", ["day1/f0", "f0"]),
        (b"day1/f0.jpg\r\n\r\n", ["day1/f0"]),
        (b"photo 1\nphoto 1.png  \n", ["photo 1", "photo 1"]),
        (b"photo\n", ["photo"]),
        ("\ufefff0\nday1/f0".encode(), ["f0", "day1/f0"]),
        (b"/elsewhere/photos/day1/f0.png\n", ["day1/f0"]),
        (b"photos/photo 1.png masks/photo 1.png\n", ["photo 1"]),
        (b"day1\\f0.png\r\n", ["day1/f0"]),
    ],
)
def test_a_line_of_a_list_is_a_name_as_it_stands(
    tmp_path: Path, content: bytes, expected: list[str]
) -> None:
    names = ("f0", "day1/f0", "photo 1", "photo")
    assert listed(tmp_path, names, content) == expected


@pytest.mark.parametrize("line", ["day2/f0.png", "day2/f0", "f0 1", "/elsewhere/day2/f0.png"])
def test_a_name_that_is_not_there_becomes_no_other_image(tmp_path: Path, line: str) -> None:
    (missing,) = listed(tmp_path, ("f0", "day1/f0"), line.encode())
    assert missing not in ("f0", "day1/f0")
    assert not (tmp_path / f"photos/{missing}.png").exists()


def test_names_in_a_description_are_read_alike(tmp_path: Path) -> None:
    write_pair(tmp_path / "photos/day1/f0.png", tmp_path / "masks/day1/f0.png", [[0, 1]])
    description = tmp_path / "own.json"
    content = {**OWN, "splits": {"train": ["day1/f0.png"]}}
    description.write_text(json.dumps(content), encoding="utf-8-sig")
    assert len(open_dataset(str(description), tmp_path, "train").read(0)[1]) == 1


def test_a_dataset_goes_to_other_processes(tmp_path: Path) -> None:
    images = stand_in(tmp_path, layout_of("ade20k"), [[0, 1]])
    copied = pickle.loads(pickle.dumps(images))
    assert copied == images
    assert copied.read(0)[1].tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("kitti", "val", "'kitti'; .*camvid, .*\\.json"),
        ("ade20k", "test", "'test'; .*train, val"),
        ("ade20k", "train", r"images/training/\*\.jpg"),
        ("voc", "train", r"train\.txt"),
    ],
)
def test_what_is_not_there_is_said(tmp_path: Path, name: str, split: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset(name, tmp_path, split)


def test_a_name_that_no_file_system_takes_is_a_missing_image(tmp_path: Path) -> None:
    longest = "9" * 5000
    split = Split("{name}.png", "{name}.label.png", "names.txt")
    assert listed_names(longest, split, tmp_path) == (longest,)
