"""The means of a training: precision, determinism, TensorBoard, early stop, its command."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from refinenet.__main__ import main
from refinenet.checkpoints.load import read_weights
from refinenet.data.augmentation import Augmentation
from refinenet.data.datasets import CAMVID
from refinenet.evaluation.metrics import ConfusionMatrix
from refinenet.training import train as training
from refinenet.training.determinism import deterministic, seed_dropout
from refinenet.training.epoch import TrainingPass
from refinenet.training.loss import PixelLoss
from refinenet.training.recipes.recipe import Recipe
from refinenet.training.run.summary import time_summary
from refinenet.training.train import TrainOptions, train
from refinenet.training.validation import Validation
from runtime.errors import CheckFailed, InputError, MissingPackage

RECIPE = Recipe(epochs=1, batch=4, class_weights="none", augmentation=Augmentation(crop=32))


@pytest.fixture
def options(tiny_camvid: Path, tmp_path: Path) -> TrainOptions:
    return TrainOptions(
        variant="lw-mobilenetv2",
        data=tiny_camvid,
        output=tmp_path / "run",
        recipe=RECIPE,
        workers=0,
        device="cpu",
        quiet=True,
    )


@pytest.fixture
def unvalidated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation takes most of these trainings' time: an mIoU of 0 instead."""
    empty = ConfusionMatrix(11)
    empty.counts[0, 1] = 1
    monkeypatch.setattr(Validation, "run", lambda *_: empty)


def log_of(options: TrainOptions) -> list[dict[str, str]]:
    with (options.output / "log.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("unvalidated")
@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_forward_pass_alone_has_the_precision(
    precision: Any, dtype: torch.dtype, options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, summed = set(), PixelLoss.summed

    def spy(loss: PixelLoss, scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        seen.add(scores.dtype)
        return summed(loss, scores, targets)

    monkeypatch.setattr(PixelLoss, "summed", spy)
    best = train(replace(options, recipe=replace(RECIPE, precision=precision)))
    assert seen == {dtype}
    assert {value.dtype for value in read_weights(best).values()} == {torch.float32}


def test_fp16_without_cuda_is_refused(options: TrainOptions) -> None:
    with pytest.raises(InputError, match="fp16 needs --device cuda; on the CPU use bf16"):
        train(replace(options, recipe=replace(RECIPE, precision="fp16")))


def test_deterministic_holds_in_its_block_alone() -> None:
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


@pytest.mark.usefixtures("unvalidated")
def test_a_deterministic_training_runs(options: TrainOptions) -> None:
    train(replace(options, deterministic=True))


def test_dropout_is_drawn_anew_in_each_epoch_and_process() -> None:
    def drawn(*place: int) -> float:
        seed_dropout(*place)
        return torch.rand(()).item()

    assert len({drawn(0, 0, 0), drawn(1, 0, 0), drawn(0, 1, 0), drawn(0, 0, 1)}) == 4
    assert drawn(0, 1, 0) == drawn(0, 1, 0)


@pytest.mark.usefixtures("unvalidated")
def test_patience_ends_the_training_early(options: TrainOptions) -> None:
    train(replace(options, recipe=replace(RECIPE, epochs=9, patience=2)))
    assert [row["epoch"] for row in log_of(options)] == ["1", "2", "3"]
    train(replace(options, recipe=replace(RECIPE, epochs=9, patience=2), resume=True))
    assert len(log_of(options)) == 3


@pytest.mark.usefixtures("unvalidated")
def test_the_log_tells_the_time_and_the_wait_for_data(options: TrainOptions) -> None:
    train(options)
    (row,) = log_of(options)
    assert 0 < float(row["data_seconds"]) < float(row["seconds"])
    share = float(row["data_seconds"]) / float(row["seconds"])
    summary = time_summary(options.output)
    assert summary.startswith("1 ")
    assert f" {share:.1%} " in summary


def test_a_loss_that_is_no_number_is_a_failed_check(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingPass, "_gradients", lambda *_: float("nan"))
    monkeypatch.setattr(training, "validate", lambda *_: None)
    with pytest.raises(CheckFailed, match="the loss became nan in epoch 1"):
        train(options)
    assert not (options.output / "state.pt").exists()


class FakeWriter:
    """Stands in for SummaryWriter; what was written, by name and epoch."""

    def __init__(self, folder: str, purge_step: int) -> None:
        self.written: dict[tuple[str, int], float] = {}
        self.opened, self.closed = (folder, purge_step), False
        written.append(self)

    def add_scalar(self, name: str, value: float, epoch: int) -> None:
        self.written[name, epoch] = value

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


written: list[FakeWriter] = []


@pytest.mark.usefixtures("unvalidated")
def test_tensorboard_gets_the_figures_of_the_log(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    package: Any = ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = FakeWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    monkeypatch.delitem(sys.modules, "refinenet.training.run.tensorboard", raising=False)
    train(replace(options, tensorboard=True))
    monkeypatch.delitem(sys.modules, "refinenet.training.run.tensorboard")
    (writer,) = written
    assert writer.opened == (str(options.output / "tensorboard"), 1)
    assert writer.closed
    (row,) = log_of(options)
    assert writer.written["loss", 1] == float(row["loss"])
    assert writer.written["val/mIoU", 1] == float(row["val_miou"])
    assert {epoch for _, epoch in writer.written} == {1}


def test_without_tensorboard_the_extra_is_named(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.delitem(sys.modules, "refinenet.training.run.tensorboard", raising=False)
    with pytest.raises(MissingPackage, match=r"--tensorboard .*\[tensorboard\]'"):
        train(replace(options, tensorboard=True))


@pytest.mark.usefixtures("unvalidated")
def test_the_command_trains_by_a_preset_and_its_changes(
    options: TrainOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        [
            *("train", "--variant", "lw-mobilenetv2", "--quiet", "--workers", "0"),
            *("--data", str(options.data), "--output", str(options.output)),
            *("--preset", "light-weight", "--epochs", "1", "--batch", "2", "--crop", "32"),
            *("--shorter-side", "64", "--accumulate", "2", "--clip-norm", "5"),
        ]
    )
    assert code == 0
    times, *classes, total, result, following = capsys.readouterr().out.splitlines()
    assert times.startswith("1 epochs of ")
    assert [line.split()[0] for line in classes] == list(CAMVID.classes)
    assert total.split()[:2] == ["mIoU", "0.00"]
    assert total.endswith("epoch 1")
    assert result.startswith(f"{options.output}/best.safetensors")
    assert f"refinenet export {options.output}/best.safetensors" in following
    assert f"--calibration {options.data}/images/train" in following
    state = torch.load(options.output / "state.pt", weights_only=True)
    recipe = state["identity"]["recipe"]
    assert (recipe["optimizer"], recipe["decoder_lr"], recipe["clip_norm"]) == ("sgd", 5e-3, 5)
    assert (recipe["augmentation"]["crop"], recipe["augmentation"]["shorter_side"]) == (32, 64)
    assert state["averaged"] is None
