"""The record of a training for TensorBoard."""

from __future__ import annotations

from pathlib import Path

from refinenet.training.run.state import TrainingState
from runtime.errors import MissingPackage

try:
    from torch.utils.tensorboard import SummaryWriter
except ModuleNotFoundError as error:
    raise MissingPackage("tensorboard", "tensorboard", "--tensorboard") from error


class TensorBoard:
    """Writes each epoch's figures into a folder; a context manager."""

    def __init__(self, folder: Path, done_epochs: int) -> None:
        """done_epochs: those that a resumed training keeps; what lies beyond them is hidden."""
        self._writer = SummaryWriter(str(folder), purge_step=done_epochs + 1)

    def write(self, state: TrainingState) -> None:
        """Write the state's last epoch."""
        record = state.records[-1]
        groups = state.optimizer.param_groups  # those of the backbone come first
        scalars = {
            "loss": record.loss,
            "val/mIoU": record.val_miou,
            "val/pixel_accuracy": record.val_pixel_accuracy,
            "time/seconds": record.seconds,
            "time/data_share": record.data_share,
            "learning_rate/backbone": groups[0]["lr"],
            "learning_rate/decoder": groups[-1]["lr"],
        }
        for name, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(name, value, record.epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
