"""The processes of one training: one, or as many as torchrun started, on any number of machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from refinenet.evaluation.predict import check_device

# The others wait while the first writes or reads labels; torchrun ends them sooner if it fails.
PATIENCE = timedelta(hours=6)

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those of the training.

    rank: 0 to world - 1; the first one, 0, writes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all processes of a tensor that lies on the device."""
        if self.world == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total

    def with_buffers_of_first(self, network: nn.Module) -> nn.Module:
        """The network, with the first process's buffers in all: the ranges of fake quantization
        follow what each process saw since the processes last met."""
        if self.world > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, src=0)
        return network

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, in every process. If it raises, torchrun ends them all."""
        if self.world == 1:
            return make()
        box = [make() if self.is_first else None]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]  # type: ignore[return-value]  # what the first process sent

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model, with gradients averaged over the processes at the end of backward."""
        if self.world == 1:
            return model
        return DistributedDataParallel(model)


def without_exchange(network: nn.Module) -> AbstractContextManager[None]:
    """A block in which the network's gradients add up in each process, for all to average later."""
    if isinstance(network, DistributedDataParallel):
        context: AbstractContextManager[None] = network.no_sync()
        return context
    return nullcontext()


def is_first_process() -> bool:
    """Whether this process is the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, by the environment variables that it sets.

    device: cpu (gloo), or cuda (NCCL), where each process takes the GPU of its local rank.

    Raises DeviceError if the device cannot be had.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(0, 1, check_device(device))
        return
    own = f"cuda:{os.environ['LOCAL_RANK']}" if device.startswith("cuda") else device
    chosen = check_device(own)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    yield Processes(dist.get_rank(), world, chosen)
    # Not after an error: the others may be waiting for this process, and it for them.
    dist.destroy_process_group()
