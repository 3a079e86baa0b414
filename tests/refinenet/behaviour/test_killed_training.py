"""A training killed at any moment resumes to the weights of an unbroken one, bit for bit."""

from __future__ import annotations

import csv
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from shutil import rmtree
from typing import Any

import cv2
import pytest
import torch

from refinenet.checkpoints.load import load_checkpoint
from refinenet.data.augmentation import Augmentation
from refinenet.data.datasets import open_dataset
from refinenet.training.recipes.recipe import Recipe
from refinenet.training.run import run_folder
from refinenet.training.train import TrainOptions, train
from runtime.errors import InputError

RECIPE = Recipe(epochs=5, batch=2, ema=0.5, augmentation=Augmentation(crop=32, scales=(0.5, 1)))
RESULTS = ("epoch", "loss", "val_miou", "val_pixel_accuracy")


@pytest.fixture(scope="module")
def options(tiny_camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainOptions:
    """A training on CamVid's first images, made small."""
    folder = tmp_path_factory.mktemp("killed")
    for split in ("train", "val"):
        images = open_dataset("camvid", tiny_camvid, split)
        for kind in ("images", "labels"):
            (folder / "data" / kind / split).mkdir(parents=True)
        for (image, _), index in zip(images.pairs, range(len(images)), strict=True):
            for kind, ending, pixels in zip(
                ("images", "labels"), ("jpg", "png"), images.read(index), strict=True
            ):
                small = cv2.resize(pixels, (128, 96), interpolation=cv2.INTER_NEAREST)
                cv2.imwrite(str(folder / f"data/{kind}/{split}/{image.stem}.{ending}"), small)
        names = "\n".join(image.stem for image, _ in images.pairs)
        (folder / f"data/{split}.txt").write_text(names, encoding="utf-8")
    return TrainOptions(
        variant="lw-mobilenetv2",
        data=folder / "data",
        output=folder / "unbroken",
        recipe=RECIPE,
        workers=0,
        device="cpu",
        validate_every=2,  # so that the second epoch is the first best one
        quiet=True,
    )


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def halfway_through(write: Callable[..., None]) -> Callable[..., None]:
    """A writer that is killed when half of its file is there. write: saves (object, path, …)."""

    def interrupted(content: Any, path: Path, **options: Any) -> None:
        write(content, path, **options)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        kill()

    return interrupted


def killed_in_state() -> None:
    torch.save = halfway_through(torch.save)


def killed_between_state_and_best() -> None:
    run_folder.save_checkpoint = lambda *_: kill()


def killed_in_best() -> None:
    write_bytes = Path.write_bytes

    def interrupted(path: Path, content: bytes) -> None:
        write_bytes(path, content[: len(content) // 2])
        kill()

    Path.write_bytes = interrupted


def killed_between_best_and_log() -> None:
    run_folder.write_log = lambda *_: kill()


# Each resumes what the one before left: the moment, and the epochs that state.pt then holds.
MOMENTS = (
    (killed_in_state, None),  # in the first epoch
    (killed_between_state_and_best, 2),
    (killed_in_best, 2),  # when it writes anew what was missing
    (killed_between_best_and_log, 2),
    (killed_in_state, 2),  # in the third
)


def run(options: TrainOptions, prepare: Callable[[], None] | None) -> None:
    """What a training's process does."""
    torch.set_num_threads(1)
    if prepare is not None:
        prepare()
    train(options)


def started(options: TrainOptions, prepare: Callable[[], None] | None = None) -> BaseProcess:
    # Forked from a process that imported torch and did nothing else: quick, and no threads in it.
    # An optimizer would import torch._dynamo, which takes seconds, in every process anew.
    context = get_context("forkserver")
    context.set_forkserver_preload(["refinenet.training.train", "torch._dynamo"])
    process = context.Process(target=run, args=(options, prepare))
    process.start()
    return process


@pytest.fixture(scope="module")
def unbroken(options: TrainOptions) -> Path:
    process = started(options)
    process.join()
    assert process.exitcode == 0
    return options.output


def epochs_in(folder: Path) -> int | None:
    """How many epochs state.pt holds; None without one."""
    if not (folder / "state.pt").exists():
        return None
    return len(torch.load(folder / "state.pt", weights_only=True)["records"])


def log_of(folder: Path) -> list[list[str]]:
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [[row[name] for name in RESULTS] for row in csv.DictReader(file)]


def equal(one: Any, other: Any) -> bool:
    """Bit for bit, through dictionaries and lists."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def assert_same_training(folder: Path, unbroken: Path) -> None:
    found, expected = (torch.load(f / "state.pt", weights_only=True) for f in (folder, unbroken))
    for part in ("model", "averaged", "optimizer"):
        assert equal(found[part], expected[part]), part
    assert log_of(folder) == log_of(unbroken)
    best = "best.safetensors"
    assert (folder / best).read_bytes() == (unbroken / best).read_bytes()
    assert {path.name for path in folder.iterdir()} == {"state.pt", best, "log.csv"}


def test_a_training_killed_while_it_writes_resumes_to_the_same_weights(
    options: TrainOptions, unbroken: Path, tmp_path: Path
) -> None:
    mine = replace(options, output=tmp_path, resume=True)
    for moment, epochs in MOMENTS:
        process = started(mine, moment)
        process.join()
        assert process.exitcode == -signal.SIGKILL, moment.__name__
        assert epochs_in(tmp_path) == epochs
    load_checkpoint(tmp_path / "best.safetensors")  # whole all the same
    train(mine)
    assert_same_training(tmp_path, unbroken)


def test_a_training_killed_at_random_resumes_to_the_same_weights(
    options: TrainOptions, unbroken: Path, tmp_path: Path
) -> None:
    mine = replace(options, output=tmp_path, resume=True)
    chance, start, kills = random.Random(0), time.monotonic(), 0
    started(replace(options, output=tmp_path / "timed")).join()
    whole_seconds = time.monotonic() - start
    rmtree(tmp_path / "timed")
    process = started(mine)
    while process.exitcode is None:
        time.sleep(chance.uniform(0.1, 0.4) * whole_seconds)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        epochs_in(tmp_path)  # can be read
        if process.exitcode and kills < 6:
            process = started(mine)
    assert kills
    train(mine)
    assert_same_training(tmp_path, unbroken)


def test_best_weights_that_are_gone_are_missed(
    options: TrainOptions, unbroken: Path, tmp_path: Path
) -> None:
    state = torch.load(unbroken / "state.pt", weights_only=True)
    for record, miou in zip(state["records"], (None, 0.3, None, 0.2, 0.2), strict=True):
        record["val_miou"] = miou
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(InputError, match=r"best\.safetensors, of epoch 2\b"):
        train(replace(options, output=tmp_path, resume=True))
