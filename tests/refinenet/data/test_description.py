"""A dataset can be described by a small file, and a file with a fault in it is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from labelled_files import write_pair

from refinenet.data.datasets import open_dataset, voc_palette
from refinenet.training.train import TrainOptions
from runtime.errors import InputError

DOCUMENTATION = Path(__file__).resolve().parents[3] / "docs/datasets.md"

PLAIN: dict[str, Any] = {
    "images": "photos/{split}/{name}.png",
    "labels": "masks/{split}/{name}.png",
    "splits": {"train": "*"},
    "classes": ["ground", "plant"],
}


def described(folder: Path, **changes: Any) -> str:
    """The path of a description with these changes; None takes a key away."""
    content = {key: value for key, value in (PLAIN | changes).items() if value is not None}
    path = folder / "mine.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def pair(root: Path, split: str, name: str, rows: list[list[int]]) -> None:
    write_pair(root / f"photos/{split}/{name}.png", root / f"masks/{split}/{name}.png", rows)


def test_all_images_of_a_folder_are_found(tmp_path: Path) -> None:
    for name in ("b", "a", "deep/c"):
        pair(tmp_path, "train", name, [[0, 1, 255]])
    (tmp_path / "photos/train/._a.png").write_bytes(b"what other systems leave behind")
    images = open_dataset(described(tmp_path), tmp_path, "train")
    assert [image.stem for image, _ in images.pairs] == ["a", "b", "c"]
    assert images.read(2)[1].tolist() == [[0, 1, 255]]
    assert images.dataset.palette == voc_palette(2)


def test_splits_are_lists_and_files(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        pair(tmp_path, "val", name, [[0]])
    (tmp_path / "val.txt").write_text("c\n\nphotos/val/a.png masks/val/a.png\n", encoding="utf-8")
    file = described(tmp_path, splits={"val": "{split}.txt"})
    assert [i.stem for i, _ in open_dataset(file, tmp_path, "val").pairs] == ["c", "a"]
    file = described(tmp_path, splits={"val": ["b"]})
    assert [i.stem for i, _ in open_dataset(file, tmp_path, "val").pairs] == ["b"]


def test_ids_are_mapped(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[0, 10, 20]])
    id_map = {"0": 9, "10": 0, "20": 1}
    file = described(tmp_path, ignore_id=9, id_map=id_map)
    assert open_dataset(file, tmp_path, "train").read(0)[1].tolist() == [[9, 0, 1]]
    file = described(tmp_path, ignore_id=9, id_map={"10": 0, "20": 1})
    with pytest.raises(InputError, match=r" 0; .*10, 20"):
        open_dataset(file, tmp_path, "train").read(0)


def test_yaml_says_the_same_as_json(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[0, 10]])
    changes: dict[str, Any] = {"palette": [[1, 2, 3], [4, 5, 6]], "license_note": "ours"}
    file = described(tmp_path, id_map={"0": 255, "10": 0}, **changes)
    text = yaml.safe_dump(PLAIN | changes | {"id_map": {0: 255, 10: 0}})
    for ending in (".yaml", ".yml"):
        Path(file).with_suffix(ending).write_text(text, encoding="utf-8")
        other = str(Path(file).with_suffix(ending))
        assert open_dataset(other, tmp_path, "train") == open_dataset(file, tmp_path, "train")


def test_the_documented_example_is_one(tmp_path: Path) -> None:
    example = re.findall(r"```json\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "mine.json").write_text(example[0], encoding="utf-8")
    pair(tmp_path, "test", "0017", [[0, 10, 20, 30]])
    (tmp_path / "photos/test/0017.png").rename(tmp_path / "photos/test/0017.jpg")
    images = open_dataset(str(tmp_path / "mine.json"), tmp_path, "test")
    assert images.read(0)[1].tolist() == [[255, 0, 1, 2]]
    assert images.dataset.license_note == "field photos of our own"


def test_training_takes_a_file_for_a_dataset() -> None:
    options = TrainOptions(
        variant="lw-50", data=Path("field"), output=Path("run"), dataset="mine.json"
    )
    assert options.dataset == "mine.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colours": []}, "unknown key colours; expected images, labels"),
        ({"classes": None, "splits": None}, "the key splits, classes is missing"),
        ({"classes": "ground"}, "classes is 'ground'; expected a list"),
        ({"classes": []}, "classes has 0 names; expected 1 to 255"),
        ({"classes": ["a", 3]}, "classes holds 3; expected text"),
        ({"classes": ["a", "a"]}, "classes names a twice"),
        ({"images": 5}, "images holds 5; expected text"),
        ({"images": "a.png"}, "images is 'a.png'; expected a path with {name}"),
        ({"labels": "{name}_{id}.png"}, "labels is .*; expected a path with {name}"),
        ({"splits": ["train"]}, r"splits is \['train'\]; expected names of splits"),
        ({"splits": {"train": 3}}, "splits: train is 3; expected a list"),
        ({"splits": {"train": [3]}}, "splits: train holds 3; expected text"),
        ({"palette": [[0, 0, 0]]}, "palette has 1 colours; expected 2"),
        ({"palette": [[0, 0], [0, 0, 0]]}, "palette holds a colour that is not"),
        ({"palette": [[0, 0, 256], [0, 0, 0]]}, "palette holds 256; expected a whole number"),
        ({"ignore_id": 1}, "ignore_id is 1, which is the class plant"),
        ({"ignore_id": "255"}, "ignore_id holds '255'; expected a whole number"),
        ({"ignore_id": True}, "ignore_id holds True; expected a whole number"),
        ({"id_map": {}}, "id_map is {}; expected ids"),
        ({"id_map": {"road": 0}}, "id_map holds 'road'; expected a whole number"),
        ({"id_map": {"7": 2}}, "id_map turns 7 into 2; expected 0 to 1, or 255"),
        ({"license_note": 1}, "license_note holds 1; expected text"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = described(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as error:
        open_dataset(file, tmp_path, "train")
    assert str(error.value).startswith(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "[1]", "holds a list; expected the keys images"),
        ("a.yaml", "a: [1\nb: {", "is not YAML"),
        ("a.yaml", "!!python/object:os.system {}", "is not YAML"),
        ("a.yaml", "classes: [no, yes]", "images, labels, splits is missing"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, file: str, text: str, message: str
) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        open_dataset(str(tmp_path / file), tmp_path, "train")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json"):
        open_dataset(str(tmp_path / "none.json"), tmp_path, "train")


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    pair(tmp_path, "train", "a", [[0]])
    file = described(tmp_path, splits={"train": "photos/train/a.png"})
    with pytest.raises(InputError, match=r"photos/train/a\.png"):
        open_dataset(file, tmp_path, "train")
