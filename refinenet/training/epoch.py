"""One pass over the training images: batches to gradients to steps of the optimizer."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refinenet.training.batches import Batches
from refinenet.training.determinism import seed_dropout
from refinenet.training.distributed import Processes, without_exchange
from refinenet.training.loss import PixelLoss
from refinenet.training.state import TrainingState

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class PassResult:
    """loss: the mean over the steps and all processes. seconds, data_seconds: of this process."""

    loss: float
    seconds: float
    data_seconds: float


@dataclass(frozen=True)
class TrainingPass:
    """What a pass works with.

    network: the state's network, wrapped for several processes.
    accumulate: the parts in which a process computes its share of a batch.
    """

    state: TrainingState
    network: nn.Module
    loss: PixelLoss
    batches: Batches
    team: Processes
    accumulate: int

    def run(self, on_step: Callable[[], object]) -> PassResult:
        """Train for the state's next epoch; calls on_step after every step."""
        epoch, steps, recipe = self.state.epoch, len(self.batches), self.state.recipe
        self.network.train()
        losses = waited = 0.0
        started = time.perf_counter()
        batches = self.batches.of_epoch(epoch)
        seed_dropout(recipe.seed, epoch, self.team.rank)
        for step in range(steps):
            asked = time.perf_counter()
            images, labels = next(batches)
            waited += time.perf_counter() - asked
            losses += self._gradients(images, labels)
            self.state.step((epoch * steps + step) / (recipe.epochs * steps))
            on_step()
        seconds = time.perf_counter() - started
        return PassResult(self.team.summed(losses) / steps, seconds, waited)

    def _gradients(self, images: Tensor, labels: Tensor) -> float:
        """Make the gradients of one global batch; returns this process's part of its loss.

        images: (N, 3, crop, crop) float32; labels: (N, crop, crop) int64; this process's share.
        """
        targets = self.loss.targets(labels)
        # The weight of the whole global batch: a mean over each part would count a pixel the more,
        # the fewer are labelled beside it. A batch without any label has no loss.
        total = max(self.team.summed(self.loss.weight(targets)), 1e-9)
        parts = list(
            zip(images.chunk(self.accumulate), targets.chunk(self.accumulate), strict=True)
        )
        loss = 0.0
        for index, (part, expected) in enumerate(parts):
            # The processes exchange their gradients once, after the last part.
            last = index + 1 == len(parts)
            with nullcontext() if last else without_exchange(self.network):
                loss += self._part(part, expected, total)
        return loss

    def _part(self, images: Tensor, targets: Tensor, total: float) -> float:
        """Add one part's gradients; returns its share of the global batch's loss."""
        device, precision = self.team.device, self.state.recipe.precision
        images = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, AUTOCAST.get(precision), precision in AUTOCAST):
            scores = self.network(images)
        loss = self.loss.summed(scores, targets.to(device)) / total
        # Times world: DistributedDataParallel averages the gradients over the processes.
        scaled: Tensor = self.state.scaler.scale(loss * self.team.world)
        scaled.backward()  # type: ignore[no-untyped-call]
        return float(loss.item())
