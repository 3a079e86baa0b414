"""Several processes train the same network as one."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from refinenet.data.augmentation import Augmentation
from refinenet.training.recipes.recipe import Recipe
from refinenet.training.train import TrainOptions, train
from runtime.errors import InputError

# SGD, since AdamW turns the rounding of a vanishing gradient into a whole step.
RECIPE = Recipe(
    epochs=3,
    batch=4,
    optimizer="sgd",
    backbone_lr=1e-2,
    decoder_lr=1e-2,
    augmentation=Augmentation(crop=64),
)
ROUNDING = 2e-5


@pytest.fixture(scope="module")
def options(
    tiny_camvid: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainOptions:
    """Three steps on all four images, which are labelled unequally far: see the test of it."""
    return TrainOptions(
        variant="lw-mobilenetv2",
        data=tiny_camvid,
        output=tmp_path_factory.mktemp("one_process"),
        recipe=RECIPE,
        backbone_weights=shared / "data/weights/mobilenetv2_imagenet_tvkeys.pth",
        workers=0,
        device="cpu",
        validate_every=3,
        quiet=True,
    )


@pytest.fixture(scope="module")
def one_process(options: TrainOptions) -> Path:
    train(options)
    return options.output


def torchrun(options: TrainOptions, processes: int) -> None:
    """`torchrun -m refinenet train` with these options."""
    recipe = options.recipe
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(processes), "-m", "refinenet", "train", "--quiet"),
            *("--variant", options.variant, "--data", options.data, "--output", options.output),
            *(
                "--backbone-weights",
                str(options.backbone_weights),
                "--workers",
                "0",
                "--device",
                "cpu",
            ),
            *("--validate-every", str(options.validate_every), "--optimizer", recipe.optimizer),
            *("--epochs", str(recipe.epochs), "--batch", str(recipe.batch)),
            *("--backbone-lr", str(recipe.backbone_lr), "--decoder-lr", str(recipe.decoder_lr)),
            *("--crop", str(recipe.augmentation.crop)),
            *("--accumulate", str(options.accumulate)),
            *(("--resume",) if options.resume else ()),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=600,
    )


def state_of(folder: Path) -> Any:
    return torch.load(folder / "state.pt", weights_only=True)


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference between two networks' weights."""
    assert one.keys() == other.keys()
    return max(float((one[key] - other[key]).abs().max()) for key in one)


def losses(folder: Path) -> list[float]:
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def assert_same_training(folder: Path, expected: Path) -> None:
    found, wanted = state_of(folder), state_of(expected)
    for part in ("model", "averaged"):
        assert distance(found[part], wanted[part]) < ROUNDING
    assert losses(folder) == pytest.approx(losses(expected), abs=2e-4)
    # Each process validates images of its own.
    for record, other in zip(found["records"], wanted["records"], strict=True):
        assert record["val_miou"] == pytest.approx(other["val_miou"], abs=1e-3)
        assert record["val_pixel_accuracy"] == pytest.approx(other["val_pixel_accuracy"], abs=1e-3)
    best = [next(f.glob("best.safetensors")).stat().st_size for f in (folder, expected)]
    assert best[0] == pytest.approx(best[1], abs=20)  # the cards' figures differ in a digit


def test_two_processes_give_the_weights_of_one(
    options: TrainOptions, one_process: Path, tmp_path: Path
) -> None:
    torchrun(replace(options, output=tmp_path), processes=2)
    assert_same_training(tmp_path, one_process)


def test_accumulated_parts_give_the_weights_of_the_whole(
    options: TrainOptions, one_process: Path, tmp_path: Path
) -> None:
    train(replace(options, output=tmp_path, accumulate=4))
    assert_same_training(tmp_path, one_process)


def test_the_weights_of_another_batch_are_farther_than_rounding(
    options: TrainOptions, one_process: Path, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, seed=1)
    train(replace(options, output=tmp_path, recipe=recipe))
    moved = distance(state_of(tmp_path)["model"], state_of(one_process)["model"])
    assert moved > 100 * ROUNDING


@pytest.mark.parametrize(("batch", "accumulate"), [(3, 2), (4, 3)])
def test_a_batch_that_cannot_be_shared_out_is_refused(
    batch: int, accumulate: int, options: TrainOptions, tmp_path: Path
) -> None:
    mine = replace(options, output=tmp_path, accumulate=accumulate)
    with pytest.raises(InputError, match=f"choose a --batch that {accumulate} divides"):
        train(replace(mine, recipe=replace(RECIPE, batch=batch)))
