"""The moving average of a network's weights."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class AveragedWeights(nn.Module):
    """A copy of a network whose weights follow those of the trained one, as an average.

    At step n, counted from 0, they keep the share min(decay, (1 + n) / (10 + n)) and take the rest
    from the trained weights. With the whole decay from the start, the untrained weights of the
    first step would make up 0.99 ** 18 = 83 % of an average over 18 steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = deepcopy(network).requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the trained weights after a step; buffers are copied."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine: list[Tensor] = list(self.module.parameters())
        trained: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(mine, trained, 1 - decay)
        for buffer, current in zip(self.module.buffers(), network.buffers(), strict=True):
            buffer.copy_(current)
        self.steps += 1

    def to_dict(self) -> dict[str, Any]:
        """As torch.optim.swa_utils.AveragedModel gives it, which earlier versions saved."""
        return {"n_averaged": torch.tensor(self.steps), **self.state_dict()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from what to_dict gave, or from what an earlier version saved."""
        self.steps = int(saved["n_averaged"])
        self.load_state_dict({key: saved[key] for key in saved if key != "n_averaged"})
