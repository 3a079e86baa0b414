"""The batches are the same for any number of processes, and a loader that dies says so."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from refinenet.data.augmentation import Augmentation
from refinenet.data.datasets import LabelledImages, open_dataset
from refinenet.training.batches import Batches, GlobalBatches
from refinenet.training.distributed import Processes
from refinenet.training.recipes.recipe import Recipe
from runtime.errors import InputError
from runtime.normalization import IMAGENET

CPU = torch.device("cpu")
RECIPE = Recipe(batch=4, seed=3, augmentation=Augmentation(crop=32))


def shares(rank: int, world: int, epoch: int = 0) -> list[list[tuple[int, int]]]:
    sampler = GlobalBatches(18, RECIPE, Processes(rank, world, CPU))
    sampler.epoch = epoch
    return list(sampler)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_processes_share_the_batches_of_one(world: int) -> None:
    by_rank = [shares(rank, world) for rank in range(world)]
    joined = [[place for share in batch for place in share] for batch in zip(*by_rank, strict=True)]
    assert joined == shares(0, 1)
    assert {len(share) for batches in by_rank for share in batches} == {4 // world}


def test_an_epoch_shows_each_image_once_in_an_order_of_its_own() -> None:
    first, second = shares(0, 1, epoch=0), shares(0, 1, epoch=1)
    for epoch, batches in enumerate((first, second)):
        places = [place for batch in batches for place in batch]
        assert len(set(places)) == len(places) == 16  # two of the 18 sit the epoch out
        assert {place[0] for place in places} == {epoch}
    assert [i for batch in first for _, i in batch] != [i for batch in second for _, i in batch]


@pytest.fixture
def images(tiny_camvid: Path) -> LabelledImages:
    return open_dataset("camvid", tiny_camvid, "train")


def epochs(images: LabelledImages, workers: int) -> list[torch.Tensor]:
    batches = Batches(images, RECIPE, IMAGENET, Processes(0, 1, CPU), workers)
    return [tensor for epoch in (0, 1) for pair in batches.of_epoch(epoch) for tensor in pair]


def test_workers_change_nothing(images: LabelledImages) -> None:
    alone, helped = epochs(images, 0), epochs(images, 2)
    assert all(torch.equal(one, two) for one, two in zip(alone, helped, strict=True))
    assert not torch.equal(alone[0], alone[2])  # the second epoch draws anew


def test_a_loader_process_that_dies_is_one_clear_line(
    images: LabelledImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(LabelledImages, "read", die)
    batches = Batches(images, RECIPE, IMAGENET, Processes(0, 1, CPU), workers=1)
    with pytest.raises(InputError, match="--workers 1") as error, batches.plain_errors():
        list(batches.of_epoch(0))
    assert "--resume" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), EOFError(), RuntimeError("0")])
def test_a_connection_that_breaks_is_the_death_of_a_loader_process_or_of_none(
    images: LabelledImages, error: Exception
) -> None:
    batches = Batches(images, RECIPE, IMAGENET, Processes(0, 1, CPU), workers=1)
    before = multiprocessing.active_children()
    list(batches.of_epoch(0))
    (worker,) = (child for child in multiprocessing.active_children() if child not in before)
    with pytest.raises(type(error)) as raised, batches.plain_errors():
        raise error
    assert raised.value is error

    def break_down() -> None:
        with batches.plain_errors():
            worker.kill()  # and it takes a moment to die
            raise error

    with pytest.raises(InputError, match=r"\(.+\).*--workers 1"):
        break_down()


def test_errors_of_others_pass_through(images: LabelledImages) -> None:
    batches = Batches(images, RECIPE, IMAGENET, Processes(0, 1, CPU), workers=0)
    with pytest.raises(RuntimeError, match="of the network"), batches.plain_errors():
        raise RuntimeError("of the network")
