"""States of trainings: read, compared, and left after one epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from refinenet.training.epoch import TrainingPass
from refinenet.training.train import TrainOptions, train


def state_of(folder: Path) -> Any:
    return torch.load(folder / "state.pt", weights_only=True)


def equal(one: Any, other: Any) -> bool:
    """Bit for bit, through dictionaries and lists."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def stop_after_epoch_1(options: TrainOptions) -> None:
    """Train, and press Ctrl-C once the first epoch is written."""
    with pytest.MonkeyPatch.context() as patch:
        run = TrainingPass.run

        def one_epoch(training: TrainingPass, on_step: Any) -> Any:
            if training.state.epoch:
                raise KeyboardInterrupt
            return run(training, on_step)

        patch.setattr(TrainingPass, "run", one_epoch)
        with pytest.raises(KeyboardInterrupt):
            train(options)
