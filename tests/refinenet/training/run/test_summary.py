"""A training says at its end what it reached and what comes next, and how to go on if stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from refinenet.__main__ import main
from refinenet.data.datasets import CAMVID
from refinenet.training.epoch import TrainingPass
from refinenet.training.run.summary import next_command, resume_command, skipped_steps


def train_arguments(data: Path, output: Path) -> list[str]:
    return [
        *("train", "--variant", "lw-mobilenetv2", "--data", str(data), "--output", str(output)),
        *("--epochs", "2", "--batch", "2", "--crop", "32", "--workers", "0", "--device", "cpu"),
    ]


def test_an_interrupted_training_says_how_to_go_on(
    small_camvid: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = train_arguments(small_camvid, tmp_path / "my run")
    run = TrainingPass.run

    def interrupted_in_epoch(epoch: int) -> None:
        def stopping(training: TrainingPass, on_step: object) -> object:
            if training.state.epoch + 1 == epoch:
                raise KeyboardInterrupt
            return run(training, on_step)  # type: ignore[arg-type]

        monkeypatch.setattr(TrainingPass, "run", stopping)
        assert main(arguments) == 130

    interrupted_in_epoch(1)
    *_, line = capsys.readouterr().err.splitlines()  # after the data's notes
    assert "--resume" not in line
    assert f"--output '{tmp_path}/my run'" in line
    interrupted_in_epoch(2)
    printed = capsys.readouterr()
    *_, line = printed.err.splitlines()
    assert line.endswith("--device cpu --resume")
    assert "batch 2" in printed.out  # the recipe
    monkeypatch.undo()
    assert main([*arguments, "--resume"]) == 0
    *_, following = lines = capsys.readouterr().out.splitlines()
    assert any("epoch 1 of 2" in line for line in lines)
    assert [line.split()[0] for line in lines if line.split()[0] in CAMVID.classes] == list(
        CAMVID.classes
    )
    assert "refinenet export" in following


def test_a_quiet_training_still_says_that_steps_were_lost(
    small_camvid: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("refinenet.training.train.check_precision", lambda *_: None)
    part, count = TrainingPass._part, 0

    def overflow_once(training: TrainingPass, *arguments: object) -> object:
        nonlocal count
        loss = part(training, *arguments)  # type: ignore[arg-type]
        count += 1
        return loss if count != 3 else _infinite(training, loss)

    def _infinite(training: TrainingPass, loss: object) -> object:
        next(training.network.parameters()).grad.fill_(float("inf"))  # type: ignore[union-attr]
        return loss

    monkeypatch.setattr(TrainingPass, "_part", overflow_once)
    arguments = [*train_arguments(small_camvid, tmp_path / "run"), "--precision", "fp16"]
    assert main([*arguments, "--quiet"]) == 0
    printed = capsys.readouterr()
    assert "1 steps overflowed in fp16" in printed.err
    assert "recipe:" not in printed.out
    assert skipped_steps(tmp_path / "run") == 1


def test_the_next_command_can_be_typed_as_it_stands() -> None:
    images = [Path("/my data/train/a/0.png"), Path("/my data/train/b/1.png")]
    assert next_command(Path("runs/x/best.safetensors"), images) == (
        "next: refinenet export runs/x/best.safetensors --output runs/x/export "
        "--calibration '/my data/train'"
    )


def test_a_resume_is_asked_for_once(tmp_path: Path) -> None:
    (tmp_path / "state.pt").touch()
    assert resume_command(tmp_path, ["--data", "d", "--resume"]).count("--resume") == 1
