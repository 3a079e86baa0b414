"""A run is resumed on the data that it began with, wherever they lie, and on no others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from refinenet.data.augmentation import Augmentation
from refinenet.data.datasets import CAMVID
from refinenet.training.recipes.recipe import Recipe
from refinenet.training.train import TrainOptions, train
from runtime.card import read_card
from runtime.errors import InputError

RECIPE = Recipe(
    epochs=1, batch=2, seed=1, augmentation=Augmentation(crop=64), backbone_lr=0, decoder_lr=0
)


def description(classes: tuple[str, ...] = CAMVID.classes, **changes: Any) -> str:
    content = {
        "images": "images/{split}/{name}.jpg",
        "labels": "labels/{split}/{name}.png",
        "splits": {"train": "train.txt", "val": "val.txt"},
        "classes": classes,
        "ignore_id": CAMVID.ignore_id,
    }
    return json.dumps(content | changes)


@pytest.fixture(scope="module")
def begun(small_camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainOptions:
    """A run of one epoch on data of its own; for reading."""
    folder = tmp_path_factory.mktemp("begun")
    shutil.copytree(small_camvid, folder / "data")
    (folder / "mine.json").write_text(description())
    options = TrainOptions(
        variant="lw-mobilenetv2",
        data=folder / "data",
        output=folder / "run",
        dataset=str(folder / "mine.json"),
        recipe=RECIPE,
        workers=0,
        quiet=True,
    )
    train(options)
    return replace(options, resume=True)


@pytest.fixture
def copied(begun: TrainOptions, tmp_path: Path) -> TrainOptions:
    """The same, all of it copied to another folder."""
    for name in ("data", "run", "mine.json"):
        source = begun.output.parent / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return replace(
        begun,
        data=tmp_path / "data",
        output=tmp_path / "run",
        dataset=str(tmp_path / "mine.json"),
    )


def test_a_copy_of_everything_elsewhere_is_the_same_run(copied: TrainOptions) -> None:
    assert train(copied) == copied.output / "best.safetensors"


def test_the_working_directory_is_no_matter(
    copied: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(replace(copied, data=Path("data"), dataset="mine.json"))
    monkeypatch.chdir(tmp_path / "data")
    Path("other_name.json").write_text(description())
    train(replace(copied, data=Path(), dataset="other_name.json"))


def swapped() -> tuple[str, ...]:
    first, second, *rest = CAMVID.classes
    return second, first, *rest


def drop_an_image(data: Path) -> None:
    names = (data / "train.txt").read_text().split()
    (data / "train.txt").unlink()
    (data / "train.txt").write_text("\n".join(names[1:]))


def another_order(data: Path) -> None:
    names = (data / "train.txt").read_text().split()
    (data / "train.txt").unlink()
    (data / "train.txt").write_text("\n".join(names[::-1]))


def another_image(data: Path) -> None:
    name = (data / "val.txt").read_text().split()[0]
    path = data / f"images/val/{name}.jpg"
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("change", [drop_an_image, another_order, another_image])
def test_other_images_are_another_training(
    copied: TrainOptions, change: Callable[[Path], None]
) -> None:
    change(copied.data)
    with pytest.raises(InputError, match="another training"):
        train(copied)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (description(swapped()), CAMVID.classes[0]),
        (description((*CAMVID.classes[:-1], "bike")), "bike"),
        (description(exif="ignore"), "exif"),
        (description(ignore_id=255, id_map={str(i): i % 11 for i in range(12)}), "id map"),
    ],
)
def test_other_meanings_are_another_training(copied: TrainOptions, text: str, named: str) -> None:
    before = (copied.output / "best.safetensors").read_bytes()
    Path(copied.dataset).write_text(text)
    with pytest.raises(InputError, match="another training") as error:
        train(copied)
    assert named in str(error.value)
    assert (copied.output / "best.safetensors").read_bytes() == before


def earlier(options: TrainOptions, dataset: str) -> None:
    """Give the run's state the identity that earlier versions wrote."""
    file = options.output / "state.pt"
    state = torch.load(file, weights_only=True)
    kept = {key: state["identity"][key] for key in ("variant", "training images", "recipe")}
    torch.save({**state, "identity": {**kept, "dataset": dataset}}, file)


@pytest.mark.parametrize("dataset", ["mine.json", "../elsewhere/mine.json"])
def test_a_run_of_an_earlier_version_goes_on(copied: TrainOptions, dataset: str) -> None:
    earlier(copied, dataset)
    recipe = replace(RECIPE, epochs=1)
    assert train(replace(copied, recipe=recipe)).is_file()


def test_a_run_of_an_earlier_version_is_told_by_what_it_recorded(copied: TrainOptions) -> None:
    earlier(copied, "camvid")
    with pytest.raises(InputError, match=r"dataset was camvid, now mine\.json"):
        train(copied)


def test_an_earlier_run_knows_its_classes_by_its_weights(copied: TrainOptions) -> None:
    earlier(copied, "mine.json")
    Path(copied.dataset).write_text(description(swapped()))
    with pytest.raises(InputError, match="classes was"):
        train(copied)
    assert read_card(copied.output / "best.safetensors").classes == CAMVID.classes
