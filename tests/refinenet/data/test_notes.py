"""What would spoil a training without an error is said: absent classes, strange ids, EXIF."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from labelled_files import write_pair
from PIL import Image

from refinenet.__main__ import main
from refinenet.data.check import CheckOptions, check_dataset
from refinenet.data.datasets import open_dataset
from refinenet.data.notes import training_notes
from runtime.errors import InputError

TWO = ("ground", "plant")


def described(folder: Path, classes: tuple[str, ...] = TWO, **changes: Any) -> str:
    content = {
        "images": "images/{name}.png",
        "labels": "labels/{name}.png",
        "splits": {"train": "*"},
        "classes": classes,
    }
    file = folder / "own.json"
    file.write_text(json.dumps(content | changes), encoding="utf-8")
    return str(file)


def field(folder: Path, *rows: list[int], classes: tuple[str, ...] = TWO, **changes: Any) -> str:
    """A data set with a label of one row for each of `rows`."""
    for index, row in enumerate(rows):
        write_pair(folder / f"images/{index}.png", folder / f"labels/{index}.png", [row])
    return described(folder, classes, **changes)


def notes(folder: Path, file: str) -> str:
    return " ".join(check_dataset(CheckOptions(folder, file, quiet=True)).notes)


def suggested(text: str) -> dict[str, int]:
    """The id_map that a note gives to copy."""
    start = text.index('"id_map": ') + len('"id_map": ')
    found: dict[str, int] = json.loads(text[start : text.index("}", start) + 1])
    return found


@pytest.mark.parametrize(
    ("rows", "classes", "expected"),
    [
        ([[0, 255], [0, 0]], TWO, {"0": 0, "255": 1}),
        ([[0, 128], [255, 0]], ("a", "b", "c"), {"0": 0, "128": 1, "255": 2}),
        ([[1, 2], [3, 1]], ("a", "b", "c"), {"1": 0, "2": 1, "3": 2}),
        ([[1, 2, 3, 255]], ("a", "b", "c"), {"1": 0, "2": 1, "3": 2, "255": 255}),
        ([[0, 1, 2]], TWO, {"0": 255, "1": 0, "2": 1}),
    ],
)
def test_a_suggested_id_map_mends_the_labels(
    tmp_path: Path, rows: list[list[int]], classes: tuple[str, ...], expected: dict[str, int]
) -> None:
    said = notes(tmp_path, field(tmp_path, *rows, classes=classes))
    assert suggested(said) == expected
    mended = described(tmp_path, classes, id_map=expected)
    findings = check_dataset(CheckOptions(tmp_path, mended, quiet=True))
    assert (findings.problems, findings.notes) == ((), ())
    assert (findings.census["train"].pixels[: len(classes)] > 0).all()


def test_masks_of_0_and_255_are_named_with_the_share_that_is_ignored(tmp_path: Path) -> None:
    said = notes(tmp_path, field(tmp_path, [0, 0, 0, 255]))
    assert "plant" in said
    assert "25%" in said


@pytest.mark.parametrize("rows", [[[0, 1, 255]], [[0, 0], [1, 1]]])
def test_labels_as_they_should_be_have_no_note(tmp_path: Path, rows: list[list[int]]) -> None:
    assert notes(tmp_path, field(tmp_path, *rows)) == ""


def test_a_class_that_is_merely_rare_gets_no_id_map(tmp_path: Path) -> None:
    said = notes(tmp_path, field(tmp_path, [0, 1, 255], classes=("a", "b", "c")))
    assert "class c" in said
    assert "id_map" not in said


def test_images_that_are_not_read_are_counted(tmp_path: Path) -> None:
    file = field(tmp_path, [0, 1])
    for name in ("IMG_1.HEIC", "IMG_2.heic", "a.avif"):
        (tmp_path / "images" / name).write_bytes(b"x")
    assert "1 AVIF, 2 HEIC" in notes(tmp_path, file)


def test_notes_change_no_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = field(tmp_path, [0, 255])
    assert main(["data", "check", str(tmp_path), "--dataset", file]) == 0
    assert '"id_map": {"0": 0, "255": 1}' in capsys.readouterr().out


def test_train_says_it_before_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = field(tmp_path, [0, 255])
    options = ["--dataset", file, "--output", str(tmp_path / "run"), "--quiet"]
    assert main(["train", "--variant", "lw-mobilenetv2", "--data", str(tmp_path), *options]) == 2
    first, refusal = capsys.readouterr().err.splitlines()
    assert '"id_map": {"0": 0, "255": 1}' in first
    assert "val" in refusal


def test_training_notes_name_the_check_where_an_id_means_nothing(tmp_path: Path) -> None:
    file = field(tmp_path, [0, 128, 255])
    with pytest.raises(InputError, match=r"id 128.*refinenet data check"):
        training_notes(open_dataset(file, tmp_path, "train"))


def test_data_check_says_what_it_assumed(
    tmp_path: Path, camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "camvid" in said
    assert "--dataset FILE.json" in said
    (tmp_path / "val.txt").write_text((camvid / "val.txt").read_text().split()[0])
    for kind in ("images", "labels"):
        (tmp_path / kind).symlink_to(camvid / kind)
    assert main(["data", "check", str(tmp_path), "--quiet"]) == 0
    assert "--dataset FILE.json" in capsys.readouterr().out.splitlines()[0]


def turned_photo(folder: Path, orientation: int) -> Image.Image:
    """A photo whose pixels lie as (2, 4), red at the left, with an EXIF orientation."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels)
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    image.save(folder / "images/0.png", exif=exif)
    return image


@pytest.mark.parametrize("orientation", [6, 8])
def test_a_label_on_the_raw_pixels_of_a_turned_photo_names_exif(
    tmp_path: Path, orientation: int
) -> None:
    turned_photo(tmp_path, orientation)
    label = np.repeat([[1, 0]], 20, axis=1).repeat(20, axis=0).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "labels/0.png"), label)
    with pytest.raises(InputError, match=r'EXIF.*"exif": "ignore"'):
        open_dataset(described(tmp_path), tmp_path, "train").read(0)
    images = open_dataset(described(tmp_path, exif="ignore"), tmp_path, "train")
    frame, read = images.read(0)
    np.testing.assert_array_equal(frame[..., 2] > 127, read == 1)  # red where it was drawn
    cv2.imwrite(str(tmp_path / "labels/0.png"), np.zeros((40, 20), np.uint8))
    with pytest.raises(InputError, match=r'EXIF.*leave "exif": "ignore" out'):
        images.read(0)


def test_a_photo_turned_upside_down_is_named(tmp_path: Path) -> None:
    turned_photo(tmp_path, 3)
    cv2.imwrite(str(tmp_path / "labels/0.png"), np.eye(20, 40, dtype=np.uint8))
    said = notes(tmp_path, described(tmp_path))
    assert "EXIF" in said
    assert str(tmp_path / "images/0.png") in said
    assert training_notes(open_dataset(described(tmp_path), tmp_path, "train"))
    ignoring = described(tmp_path, exif="ignore")
    assert notes(tmp_path, ignoring) == ""
    assert training_notes(open_dataset(ignoring, tmp_path, "train")) == []


def test_a_size_that_exif_does_not_explain_is_no_matter_of_exif(tmp_path: Path) -> None:
    turned_photo(tmp_path, 6)
    cv2.imwrite(str(tmp_path / "labels/0.png"), np.zeros((7, 7), np.uint8))
    with pytest.raises(InputError) as error:
        open_dataset(described(tmp_path), tmp_path, "train").read(0)
    assert "EXIF" not in str(error.value)
