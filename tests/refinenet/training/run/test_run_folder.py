"""A run folder serves runs of earlier versions, keeps what was asked for, and loses no count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_states import equal, state_of, stop_after_epoch_1

from refinenet.checkpoints.load import read_weights
from refinenet.data.augmentation import Augmentation
from refinenet.training.epoch import TrainingPass
from refinenet.training.recipes.recipe import BEFORE, Recipe
from refinenet.training.train import TrainOptions, train
from runtime.card import read_card
from runtime.errors import CheckFailed, InputError

RECIPE = Recipe(epochs=2, batch=2, seed=1, augmentation=Augmentation(crop=64))
# The entries of a recipe in the first version whose states can be resumed.
FIRST_ENTRIES = {
    *("epochs", "batch", "optimizer", "momentum", "backbone_lr", "decoder_lr", "weight_decay"),
    *("schedule", "poly_power", "step_factors", "warmup", "loss_at", "class_weights", "ema"),
    *("precision", "clip_norm", "patience", "seed", "augmentation"),
}


@pytest.fixture
def options(small_camvid: Path, tmp_path: Path) -> TrainOptions:
    """Two epochs of two steps each."""
    return TrainOptions(
        variant="lw-mobilenetv2",
        data=small_camvid,
        output=tmp_path / "run",
        recipe=RECIPE,
        workers=0,
        device="cpu",
        quiet=True,
    )


def test_a_run_of_an_earlier_version_goes_on_as_it_was_begun(
    options: TrainOptions, tmp_path: Path
) -> None:
    """Its state lacks what recipes, records and states of this version have."""
    recipe = replace(RECIPE, decayed="all", ema=0.9)
    unbroken = train(replace(options, output=tmp_path / "unbroken", recipe=recipe))
    mine = replace(options, output=tmp_path / "mine", resume=True)
    stop_after_epoch_1(replace(mine, recipe=recipe))
    state = state_of(mine.output)
    for name in BEFORE:
        del state["identity"]["recipe"][name]
    assert state["identity"]["recipe"].keys() == FIRST_ENTRIES
    del (
        state["label_counts"],
        state["records"][0]["class_iou"],
        state["records"][0]["skipped_steps"],
    )
    torch.save(state, mine.output / "state.pt")
    best = train(replace(mine, recipe=replace(recipe, decayed="weights")))  # as it is by default
    found, expected = state_of(mine.output), state_of(unbroken.parent)
    for part in ("model", "averaged", "optimizer"):
        assert equal(found[part], expected[part]), part
    assert "decayed" not in found["identity"]["recipe"]  # so that it means "all" once more
    assert read_card(best).details["recipe"] == read_card(unbroken).details["recipe"]


def test_entries_that_nobody_asked_for_are_those_of_the_saved_run(
    options: TrainOptions, tmp_path: Path
) -> None:
    """Defaults change from version to version, and with the data and the machine."""
    unbroken = train(replace(options, output=tmp_path / "unbroken"))
    mine = replace(options, output=tmp_path / "mine", resume=True)
    stop_after_epoch_1(mine)
    changed = replace(RECIPE, seed=9, ema=0.5, augmentation=Augmentation(crop=96))
    with pytest.raises(InputError, match="seed was 1, now 9"):
        train(replace(mine, recipe=changed, unasked=frozenset({"ema", "crop"})))
    resumed = train(replace(mine, recipe=changed, unasked=frozenset({"seed", "ema", "crop"})))
    assert resumed.read_bytes() == unbroken.read_bytes()


def test_a_resumed_run_reads_no_label_to_count_it_again(
    options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = replace(options, output=tmp_path, resume=True)
    stop_after_epoch_1(mine)
    monkeypatch.setattr("refinenet.training.train.label_counts", lambda _: pytest.fail("counted"))
    train(mine)
    assert sum(state_of(tmp_path)["label_counts"]) == 4 * 96 * 128


def test_weights_are_kept_every_so_many_epochs(options: TrainOptions, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=4)
    mine = replace(options, output=tmp_path, recipe=recipe, save_every=2, resume=True)
    stop_after_epoch_1(mine)
    (tmp_path / "epochs").mkdir()
    (tmp_path / "epochs/.0002.safetensors.part.1").touch()  # as a killed process leaves it
    train(mine)
    kept = sorted((tmp_path / "epochs").iterdir())
    assert [file.name for file in kept] == ["0002.safetensors", "0004.safetensors"]
    assert [read_card(file).details["result"]["epoch"] for file in kept] == [2, 4]
    last = state_of(tmp_path)["averaged"]
    weights = read_weights(kept[-1])
    assert all(torch.equal(value, last[f"module.{key}"]) for key, value in weights.items())
    assert not equal(dict(read_weights(kept[0])), dict(weights))


@pytest.mark.parametrize(("overflowing", "epochs"), [((0, 3), 2), ((2, 3), 1)])
def test_steps_that_overflow_are_skipped_and_counted(
    overflowing: tuple[int, ...], epochs: int, options: TrainOptions, tmp_path: Path
) -> None:
    """fp16 on the CPU, which the command does not offer, and gradients that are infinite."""
    recipe = replace(RECIPE, precision="fp16", ema=0, warmup=0)
    mine = replace(options, output=tmp_path, recipe=recipe)
    part, count, weights = TrainingPass._part, 0, []

    def overflow(training: TrainingPass, *arguments: Any) -> Any:
        nonlocal count
        weights.append(next(training.network.parameters()).detach().clone())
        loss = part(training, *arguments)
        if count in overflowing:
            next(training.network.parameters()).grad.fill_(float("inf"))  # type: ignore[union-attr]
            loss = loss * float("nan")
        count += 1
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("refinenet.training.train.check_precision", lambda *_: None)
        patch.setattr(TrainingPass, "_part", overflow)
        if epochs == 1:
            with pytest.raises(CheckFailed, match="epoch 2 overflowed in fp16"):
                train(mine)
        else:
            train(mine)
    records = state_of(tmp_path)["records"]
    assert len(records) == epochs
    assert [record["skipped_steps"] for record in records] == ([1, 1] if epochs == 2 else [0])
    assert all(0 < record["loss"] < 20 for record in records)
    for step in range(3):
        assert torch.equal(weights[step], weights[step + 1]) == (step in overflowing)
