"""`refinenet data check` finds every fault, and counts the classes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelled_files import write_image, write_label, write_pair

from refinenet.__main__ import main
from refinenet.data.check import CheckOptions, check_dataset, class_shares, problem_list

DESCRIPTION: dict[str, Any] = {
    "images": "images/{split}/{name}.png",
    "labels": "labels/{split}/{name}.png",
    "splits": {"train": "*", "val": "val.txt"},
    "classes": ["ground", "plant"],
}


@pytest.fixture
def field(tmp_path: Path) -> Path:
    """Two training images and one for validation, without a fault."""
    for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
        image, label = (tmp_path / f"{kind}/{split}/{name}.png" for kind in ("images", "labels"))
        write_pair(image, label, [[0, 0, 0, 1], [255, 255, 0, 0]])
    (tmp_path / "val.txt").write_text("c\n", encoding="utf-8")
    (tmp_path / "field.json").write_text(json.dumps(DESCRIPTION), encoding="utf-8")
    return tmp_path


def problems(folder: Path) -> list[str]:
    return list(check_dataset(CheckOptions(folder, str(folder / "field.json"))).problems)


def run(folder: Path, *arguments: str) -> int:
    dataset = ("--dataset", str(folder / "field.json"))
    return main(["data", "check", str(folder), *dataset, "--quiet", *arguments])


def test_a_dataset_without_faults_passes(field: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(field) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == [
        "train: 2 readable images, 2x4",
        "val: 1 readable images, 2x4",
    ]
    assert printed[4].split() == ["ground", "83.3333", "2", "83.3333", "1"]
    assert printed[6].split() == ["(ignored)", "25.0000", "2", "25.0000", "1"]


def test_missing_files_are_found(field: Path) -> None:
    (field / "labels/train/a.png").unlink()
    (field / "images/val/c.png").unlink()
    assert problems(field) == [
        f"{field}/labels/train/a.png is missing",
        f"{field}/images/val/c.png is missing",
    ]


def test_labels_without_an_image_are_found(field: Path) -> None:
    write_label(field / "labels/train/z.png", [[0]])
    assert problems(field) == [f"{field}/labels/train/z.png has no image"]


def test_unlisted_labels_are_no_problem(field: Path) -> None:
    write_label(field / "labels/val/z.png", [[0]])
    assert problems(field) == []


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_files_that_are_cut_short_are_found(field: Path, kind: str) -> None:
    path = field / f"{kind}/train/b.png"
    path.write_bytes(path.read_bytes()[:-30])
    (found,) = problems(field)
    assert str(path) in found


def test_labels_of_another_size_are_found(field: Path) -> None:
    write_label(field / "labels/train/b.png", [[0, 1]])
    (found,) = problems(field)
    assert re.match(rf"{field}/labels/train/b\.png .*1x2.*2x4", found)


def test_unknown_ids_are_found(field: Path) -> None:
    write_label(field / "labels/train/b.png", [[0, 0, 2, 1], [7, 255, 0, 7]])
    (found,) = problems(field)
    assert re.match(rf"{field}/labels/train/b\.png .* 2, 7; .*0 to 1, or 255\b", found)


def test_an_image_in_two_splits_is_found(field: Path) -> None:
    shutil.copy(field / "images/train/a.png", field / "images/val/c.png")
    assert problems(field) == [
        f"{field}/images/val/c.png of val is {field}/images/train/a.png of train"
    ]


def test_problems_are_exit_code_1(field: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (field / "labels/train/a.png").unlink()
    assert run(field) == 1
    printed = capsys.readouterr()
    assert f"problem: {field}/labels/train/a.png " in printed.out
    assert "train: 1 readable images" in printed.out
    assert printed.err == f"refinenet data: CheckFailed: 1 problems in {field}\n"


def test_many_problems_are_counted_and_not_all_shown(field: Path) -> None:
    for number in range(30):
        write_image(field / f"images/train/{number}.png", (1, 1))
    listed = problem_list(check_dataset(CheckOptions(field, str(field / "field.json"))))
    assert len(listed.splitlines()) == 21
    assert listed.endswith("… and 10 more")


def test_only_the_splits_asked_for_are_read(field: Path) -> None:
    (field / "labels/train/a.png").unlink()
    assert run(field, "--split", "val") == 0
    assert run(field, "--split", "train,val") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "test"], "'test'"),
        (["--dataset", "none.json"], "none.json"),
        (["--dataset", "voc"], "ImageSets/"),
        (["--depth"], "--depth"),
    ],
)
def test_wrong_input_is_exit_code_2(
    field: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(field, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_folder_is_exit_code_2(tmp_path: Path) -> None:
    assert main(["data", "check", str(tmp_path / "none")]) == 2


def test_labels_without_a_class_have_no_shares(field: Path) -> None:
    for name in ("a", "b"):
        write_label(field / f"labels/train/{name}.png", [[255] * 4] * 2)
    findings = check_dataset(CheckOptions(field, str(field / "field.json")))
    assert findings.problems == ()
    assert class_shares(findings.census["train"], 2).tolist() == [0, 0]


def test_labels_of_a_split_that_is_not_there_are_no_orphans(tmp_path: Path) -> None:
    write_pair(
        tmp_path / "SUNRGBD-train_images/img-000001.jpg",
        tmp_path / "sunrgbd_train_test_labels/img-005051.png",
        [[0, 1]],
    )
    write_label(tmp_path / "sunrgbd_train_test_labels/img-000001.png", [[0, 1]])
    findings = check_dataset(CheckOptions(tmp_path, "sun-rgbd"))
    assert (findings.problems, findings.absent) == ((), ("val",))
    write_image(tmp_path / "SUNRGBD-test_images/img-000002.jpg", (1, 2))
    findings = check_dataset(CheckOptions(tmp_path, "sun-rgbd"))
    assert [Path(problem.split()[0]).name for problem in findings.problems] == [
        "img-000001.png",
        "img-000002.png",
    ]


def test_trainval_is_read_only_when_it_is_asked_for(tmp_path: Path) -> None:
    write_pair(tmp_path / "JPEGImages/1.jpg", tmp_path / "SegmentationClass/1.png", [[0]])
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    for split in ("train", "trainval"):
        (tmp_path / f"ImageSets/Segmentation/{split}.txt").write_text("1\n", encoding="utf-8")
    assert check_dataset(CheckOptions(tmp_path, "voc")).census.keys() == {"train"}
    named = CheckOptions(tmp_path, "voc", splits=("trainval",))
    assert check_dataset(named).census.keys() == {"trainval"}


def test_camvid_has_the_published_class_frequencies(camvid: Path) -> None:
    findings = check_dataset(CheckOptions(camvid))
    described = json.loads((camvid / "classes.json").read_text(encoding="utf-8"))
    published = described["train_pixel_freq_valid"]
    assert findings.problems == ()
    assert findings.absent == ("test",)
    shares = class_shares(findings.census["train"], len(published))
    assert np.round(shares, 6).tolist() == list(published.values())
    assert tuple(published) == findings.dataset.classes


def test_voc_has_no_problem(shared: Path) -> None:
    findings = check_dataset(CheckOptions(shared / "data/voc/VOC2012", "voc"))
    assert findings.problems == ()
    assert findings.census["val"].sizes.total() == 3
