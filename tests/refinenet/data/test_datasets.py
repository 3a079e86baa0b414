"""Datasets mean what their publishers say, and broken ones are refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from refinenet.data.datasets import (
    CAMVID,
    VOC,
    LabelledImages,
    open_dataset,
    read_label,
    voc_palette,
)
from runtime.errors import InputError


@pytest.fixture
def one_image(camvid: Path, tmp_path: Path) -> LabelledImages:
    """A CamVid of one real image; its label is for the test to write."""
    name = (camvid / "val.txt").read_text(encoding="utf-8").split()[0]
    for kind in ("images", "labels"):
        (tmp_path / kind / "val").mkdir(parents=True)
    (tmp_path / "images/val" / f"{name}.jpg").symlink_to(camvid / f"images/val/{name}.jpg")
    (tmp_path / "val.txt").write_text(name, encoding="utf-8")
    return open_dataset("camvid", tmp_path, "val")


def test_the_camvid_table_is_the_published_one(camvid: Path) -> None:
    published = json.loads((camvid / "classes.json").read_text(encoding="utf-8"))
    assert list(CAMVID.classes) == published["names"]
    assert [list(colour) for colour in CAMVID.palette] == published["colors"]
    assert CAMVID.ignore_id == published["ignore_index"] == published["void"]["id"]


@pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101)])
def test_every_camvid_pair_exists(camvid: Path, split: str, count: int) -> None:
    images = open_dataset("camvid", camvid, split)
    assert len(images) == len(set(images.pairs)) == count
    assert all(path.is_file() for pair in images.pairs for path in pair)
    assert all(image.stem == label.stem for image, label in images.pairs)


def test_a_camvid_pair_is_a_frame_and_its_ids(camvid: Path) -> None:
    frame, label = open_dataset("camvid", camvid, "val").read(0)
    assert (frame.shape, frame.dtype) == ((360, 480, 3), np.uint8)
    assert (label.shape, label.dtype) == ((360, 480), np.uint8)
    assert set(np.unique(label)) <= set(range(12))
    road = frame[label == CAMVID.classes.index("road")].mean()
    sky = frame[label == CAMVID.classes.index("sky")].mean()
    assert sky > 2 * road


def test_voc_colours_are_the_published_ones() -> None:
    colours = dict(zip(VOC.classes, VOC.palette, strict=True))
    assert colours["background"] == (0, 0, 0)
    assert colours["aeroplane"] == (128, 0, 0)
    assert colours["person"] == (192, 128, 128)
    assert colours["tvmonitor"] == (0, 64, 128)
    assert voc_palette(256)[255] == (224, 224, 192)  # the void of the published masks
    assert len(set(voc_palette(256))) == 256


def test_voc_colours_are_those_inside_its_masks(shared: Path) -> None:
    file = next((shared / "data/voc/VOC2012/SegmentationClass").glob("*.png"))
    with Image.open(file) as mask:
        inside = np.reshape(mask.getpalette(), (-1, 3))[:21]
    assert inside.tolist() == [list(colour) for colour in VOC.palette]


def test_voc_images_are_read_with_their_void(shared: Path) -> None:
    images = open_dataset("voc", shared / "data/voc/VOC2012", "val")
    assert len(images) == 3
    for index in range(3):
        frame, label = images.read(index)
        assert frame.shape == (*label.shape, 3)
        ids = set(np.unique(label))
        assert VOC.ignore_id in ids
        assert ids - {VOC.ignore_id} <= set(range(21))
        assert len(ids) >= 3


@pytest.mark.parametrize("mode", ["L", "P"])
@pytest.mark.parametrize("known", [0, 10, 11])
def test_a_known_id_is_read(one_image: LabelledImages, mode: str, known: int) -> None:
    write_label(one_image, np.full((360, 480), known, np.uint8), mode)
    assert (one_image.read(0)[1] == known).all()


@pytest.mark.parametrize("unknown", [12, 255])
def test_an_unknown_id_is_refused(one_image: LabelledImages, unknown: int) -> None:
    ids = np.zeros((360, 480), np.uint8)
    ids[359, 479] = unknown
    write_label(one_image, ids)
    with pytest.raises(InputError, match=f" {unknown}; .*0 to 10, or 11"):
        one_image.read(0)


def test_a_label_of_another_size_is_refused(one_image: LabelledImages) -> None:
    write_label(one_image, np.zeros((480, 360), np.uint8))
    with pytest.raises(InputError, match=r"480x360.*360x480"):
        one_image.read(0)


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
def test_a_label_that_holds_no_ids_is_refused(one_image: LabelledImages, mode: str) -> None:
    file = one_image.pairs[0][1]
    Image.new(mode, (480, 360)).save(file, "TIFF")
    with pytest.raises(InputError, match=f" {mode} "):
        read_label(file)


def test_a_broken_label_is_refused(one_image: LabelledImages) -> None:
    file = one_image.pairs[0][1]
    with pytest.raises(InputError, match=re.escape(str(file))):
        one_image.read(0)
    file.write_text("no image", encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(str(file))):
        one_image.read(0)
    noise = np.random.default_rng(0).integers(0, 11, (360, 480), np.uint8)
    write_label(one_image, noise)
    file.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(InputError, match=re.escape(str(file))):
        one_image.read(0)


def test_a_missing_image_is_refused(one_image: LabelledImages) -> None:
    write_label(one_image, np.zeros((360, 480), np.uint8))
    one_image.pairs[0][0].unlink()
    with pytest.raises(InputError, match=r"\.jpg "):
        one_image.read(0)


def test_a_missing_split_folder_or_dataset_is_refused(camvid: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="minival"):
        open_dataset("camvid", camvid, "minival")
    with pytest.raises(InputError, match="nowhere does not exist; expected a folder"):
        open_dataset("camvid", tmp_path / "nowhere", "val")
    with pytest.raises(InputError, match=r"unknown dataset 'kitti'; expected one of.*camvid"):
        open_dataset("kitti", camvid, "val")
    (tmp_path / "val.txt").write_text("\n\n", encoding="utf-8")
    with pytest.raises(InputError, match="names no image"):
        open_dataset("camvid", tmp_path, "val")


def write_label(images: LabelledImages, ids: np.ndarray, mode: str = "L") -> None:
    label = Image.fromarray(ids)
    if mode == "P":
        label.putpalette([level for colour in voc_palette(256) for level in colour])
    label.save(images.pairs[0][1])
