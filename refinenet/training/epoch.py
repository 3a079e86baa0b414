"""One pass over the training images: batches to gradients to steps of the optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refinenet.data.network_input import NetworkInput
from refinenet.training.batches import Batches
from refinenet.training.determinism import fixed_sizes, seed_dropout
from refinenet.training.distributed import Processes, without_exchange
from refinenet.training.loss import PixelLoss
from refinenet.training.run.state import TrainingState

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class PassResult:
    """loss: the mean over the steps that were taken, and all processes. skipped_steps: those whose
    gradients overflowed in fp16. seconds, data_seconds: of this process."""

    loss: float
    skipped_steps: int
    seconds: float
    data_seconds: float


@dataclass(frozen=True)
class TrainingPass:
    """What a pass works with.

    network: the state's network, wrapped for several processes.
    to_input: normalizes frames on the device.
    accumulate: the parts in which a process computes its share of a batch.
    """

    state: TrainingState
    network: nn.Module
    to_input: NetworkInput
    loss: PixelLoss
    batches: Batches
    team: Processes
    accumulate: int

    def run(self, on_step: Callable[[], object]) -> PassResult:
        """Train for the state's next epoch; calls on_step after every step.

        No step waits for the GPU: what is counted stays there until the epoch ends.
        """
        epoch, steps, recipe = self.state.epoch, len(self.batches), self.state.recipe
        self.network.train()
        losses = torch.zeros((), dtype=torch.float64, device=self.team.device)
        taken = torch.zeros((), dtype=torch.int64, device=self.team.device)
        waited = 0.0
        started = time.perf_counter()
        batches = self.batches.of_epoch(epoch)
        seed_dropout(recipe.seed, epoch, self.team.rank)
        with fixed_sizes():
            for step in range(steps):
                asked = time.perf_counter()
                frames, labels = next(batches)
                waited += time.perf_counter() - asked
                loss = self._gradients(frames, labels)
                was_taken = self.state.step((epoch * steps + step) / (recipe.epochs * steps))
                # The loss of a step that overflowed is often no number.
                losses += torch.where(was_taken, loss, 0.0)
                taken += was_taken
                on_step()
        total, count = float(self.team.summed(losses)), int(taken)
        seconds = time.perf_counter() - started  # after these two have waited for the GPU
        return PassResult(total / count if count else math.nan, steps - count, seconds, waited)

    def _gradients(self, frames: Tensor, labels: Tensor) -> Tensor:
        """Make the gradients of one global batch; returns this process's part of its loss.

        frames: (N, crop, crop, 3) uint8 BGR; labels: (N, crop, crop) uint8; this process's share.
        """
        frames = frames.to(self.team.device, non_blocking=True)
        targets = self.loss.targets(labels.to(self.team.device, non_blocking=True))
        # The weight of the whole global batch: a mean over each part would count a pixel the more,
        # the fewer are labelled beside it. A batch without any label has no loss.
        total = self.team.summed(self.loss.weight(targets)).clamp(min=1e-9)
        parts = list(
            zip(frames.chunk(self.accumulate), targets.chunk(self.accumulate), strict=True)
        )
        loss = torch.zeros((), device=self.team.device)
        for index, (part, expected) in enumerate(parts):
            # The processes exchange their gradients once, after the last part.
            last = index + 1 == len(parts)
            with nullcontext() if last else without_exchange(self.network):
                loss += self._part(part, expected, total)
        return loss

    def _part(self, frames: Tensor, targets: Tensor, total: Tensor) -> Tensor:
        """Add one part's gradients; returns its share of the global batch's loss."""
        device, precision = self.team.device, self.state.recipe.precision
        images = self.to_input(frames)  # channels last, as the network is
        with torch.autocast(device.type, AUTOCAST.get(precision), precision in AUTOCAST):
            scores = self.network(images)
        loss = self.loss.summed(scores, targets) / total.float()
        # Times world: DistributedDataParallel averages the gradients over the processes.
        scaled: Tensor = self.state.scaler.scale(loss * self.team.world)
        scaled.backward()  # type: ignore[no-untyped-call]
        return loss.detach()
