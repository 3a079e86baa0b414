"""The whole state of a training, as it stands after an epoch: what --resume brings back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refinenet.network import SegmentationNetwork
from refinenet.training.recipes.recipe import Recipe, learning_rate_factor
from refinenet.training.run.averaging import AveragedWeights


@dataclass(frozen=True)
class EpochRecord:
    """What is known of one epoch: a row of log.csv.

    loss: the mean over the steps. val_miou, val_pixel_accuracy: 0 to 1, None where the epoch was
    not validated. seconds: of the pass over the training images, validation aside.
    data_seconds: the part of them spent waiting for the next batch. skipped_steps: those whose
    gradients overflowed in fp16. class_iou: of the validation, 0 to 1, None for a class that is
    neither there nor predicted; None as a whole also in records of earlier versions.
    """

    epoch: int
    loss: float
    val_miou: float | None
    val_pixel_accuracy: float | None
    seconds: float
    data_seconds: float
    skipped_steps: int = 0
    class_iou: tuple[float | None, ...] | None = None

    @property
    def scores(self) -> dict[str, float | None]:
        """What is the same however fast the machine was."""
        return {
            "epoch": self.epoch,
            "loss": self.loss,
            "val_miou": self.val_miou,
            "val_pixel_accuracy": self.val_pixel_accuracy,
        }

    @property
    def data_share(self) -> float:
        """The share of the pass spent waiting for data, 0 to 1."""
        return self.data_seconds / max(self.seconds, 1e-9)


class TrainingState:
    """A network, its averaged weights, its optimizer, and the record of its epochs.

    The epoch, the best epoch and the step follow from the records; random numbers are seeded anew
    in every epoch. So nothing else is needed to go on exactly.
    """

    def __init__(self, model: SegmentationNetwork, recipe: Recipe, device: torch.device) -> None:
        self.model = model
        self.recipe = recipe
        self.optimizer = make_optimizer(model, recipe)
        # float16 gradients underflow unless the loss is scaled; a no-op for the other precisions.
        # Where it overflows, the scaler skips the step and halves the scale.
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.averaged = AveragedWeights(model, recipe.ema) if recipe.ema else None
        self.records: list[EpochRecord] = []
        self.label_counts: list[int] | None = None  # kept, so that a resumed run reads no label
        self._taken = torch.ones((), dtype=torch.bool, device=device)

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.records)

    @property
    def best(self) -> EpochRecord | None:
        """The first of the epochs with the best validation mIoU; None before any validation."""
        return max(self._validated, key=lambda record: _comparable(record.val_miou), default=None)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or none of the last few, `patience`, was better."""
        if self.epoch >= self.recipe.epochs:
            return True
        if not self.recipe.patience or self.best is None:
            return False
        return self._validated[-1].epoch - self.best.epoch >= self.recipe.patience

    @property
    def kept(self) -> nn.Module:
        """The network whose weights are validated and kept: averaged, where the recipe says so."""
        return self.model if self.averaged is None else self.averaged.module

    @property
    def _validated(self) -> list[EpochRecord]:
        return [record for record in self.records if record.val_miou is not None]

    def step(self, progress: float) -> Tensor:
        """Change the weights by the gradients, at a progress of 0 to 1 of the whole training.

        Returns whether the step was taken, a bool scalar on the device: False where gradients
        overflowed in fp16, after which the weights are as before.
        """
        factor = learning_rate_factor(progress, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self.scaler.unscale_(self.optimizer)
        taken = self._taken
        if self.recipe.clip_norm or self.scaler.is_enabled():
            limit = self.recipe.clip_norm or math.inf
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
            taken = norm.isfinite() if self.scaler.is_enabled() else taken
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.averaged is not None:
            self.averaged.update(self.model)
        return taken

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain data."""
        return {
            "model": self.model.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.to_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "label_counts": self.label_counts,
            "records": [asdict(record) for record in self.records],
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what to_dict gave for the same network and recipe."""
        self.model.load_state_dict(saved["model"])
        if self.averaged is not None:
            self.averaged.restore(saved["averaged"])
        self.optimizer.load_state_dict(self._on_this_device(saved["optimizer"]))
        self.scaler.load_state_dict(saved["scaler"])
        self.label_counts = saved.get("label_counts")  # missing in runs of earlier versions
        self.records = [EpochRecord(**record) for record in saved["records"]]

    def _on_this_device(self, saved: dict[str, Any]) -> dict[str, Any]:
        """A saved optimizer's state, fused where this device has fused steps: a run may change
        between CPU and GPU."""
        fused = self.optimizer.param_groups[0]["fused"]
        return {
            **saved,
            "param_groups": [{**group, "fused": fused} for group in saved["param_groups"]],
        }


def _comparable(miou: float | None) -> float:
    """Below all others where the validation counted no pixel: NaN compares with nothing."""
    return -1.0 if miou is None or math.isnan(miou) else miou


def make_optimizer(model: SegmentationNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    """Backbones and the rest as parameter groups with learning rates of their own.

    Each is one group, or two where biases and the parameters of norms are not decayed.
    """
    backbone = [p for part in model.pretrained_backbones for p in part.parameters()]
    known = {id(parameter) for parameter in backbone}
    decoder = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups: list[dict[str, Any]] = []
    for parameters, rate in ((backbone, recipe.backbone_lr), (decoder, recipe.decoder_lr)):
        for part, decay in _by_decay(parameters, recipe):
            groups.append({"params": part, "lr": rate, "initial_lr": rate, "weight_decay": decay})
    # One kernel for all parameters on a GPU, which does not wait for the scaler's answer either.
    fused = True if next(model.parameters()).is_cuda else None
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, fused=fused)
    return torch.optim.AdamW(groups, fused=fused)


def _by_decay(
    parameters: list[nn.Parameter], recipe: Recipe
) -> list[tuple[list[nn.Parameter], float]]:
    """The parameters, apart by their weight decay."""
    if recipe.decayed == "all":
        return [(parameters, recipe.weight_decay)]
    # Biases and what norms scale and shift by have one dimension, weights have two or more.
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [(weights, recipe.weight_decay), (others, 0.0)]
