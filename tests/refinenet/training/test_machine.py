"""Batch, precision, device and loader processes follow from data and machine, unless asked for."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from refinenet.training import machine
from refinenet.training.distributed import Processes
from refinenet.training.machine import default_device, default_workers, on_this_machine
from refinenet.training.options import TrainOptions
from refinenet.training.recipes.recipe import Recipe

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
OPTIONS = TrainOptions("lw-mobilenetv2", Path("data"), Path("run"))


@pytest.mark.parametrize(
    ("images", "batch"), [(367, 8), (64, 8), (63, 7), (24, 3), (9, 1), (6, 1), (1, 1)]
)
def test_few_images_make_small_batches_unless_a_batch_is_asked_for(images: int, batch: int) -> None:
    free = replace(OPTIONS, unasked=frozenset({"batch"}))
    team = Processes(0, 1, CPU)
    assert on_this_machine(free, images, team).recipe == replace(Recipe(), batch=batch)
    assert on_this_machine(OPTIONS, images, team).recipe == Recipe()


@pytest.mark.parametrize(("world", "accumulate", "batch"), [(2, 1, 6), (4, 2, 8), (5, 1, 5)])
def test_a_batch_that_follows_from_the_data_can_be_shared_out(
    world: int, accumulate: int, batch: int
) -> None:
    free = replace(OPTIONS, unasked=frozenset({"batch"}), accumulate=accumulate)
    assert on_this_machine(free, 60, Processes(0, world, CPU)).recipe.batch == batch


def test_the_processes_of_a_machine_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert default_workers(CPU) == 1
    assert default_workers(GPU) == 15
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert default_workers(GPU) == 3
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "32")
    assert default_workers(GPU) == 1
    assert on_this_machine(replace(OPTIONS, workers=5), 60, Processes(0, 1, GPU)).workers == 5


@pytest.mark.parametrize("present", [True, False])
def test_a_gpu_is_taken_where_there_is_one(present: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)
    assert default_device() == ("cuda" if present else "cpu")


@pytest.mark.parametrize("able", [True, False])
def test_bf16_follows_from_the_gpu_unless_a_precision_is_asked_for(
    able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "has_bf16", lambda device: able and device == GPU)
    free = replace(OPTIONS, unasked=frozenset({"precision"}))
    found = on_this_machine(free, 60, Processes(0, 1, GPU)).recipe.precision
    assert found == ("bf16" if able else "fp32")
    assert on_this_machine(OPTIONS, 60, Processes(0, 1, GPU)).recipe.precision == "fp32"
    assert on_this_machine(free, 60, Processes(0, 1, CPU)).recipe.precision == "fp32"
    learning_int8 = replace(free, qat=True)
    assert on_this_machine(learning_int8, 60, Processes(0, 1, GPU)).recipe.precision == "fp32"
