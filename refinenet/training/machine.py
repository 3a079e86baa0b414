"""What a training takes of the machine where nobody says it."""

from __future__ import annotations

import os
from dataclasses import replace

import torch

from refinenet.training.distributed import Processes
from refinenet.training.options import TrainOptions
from refinenet.training.recipes.recipe import fitted

MOST_WORKERS = 32


def default_device() -> str:
    """The GPU, where PyTorch has one; otherwise the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def default_workers(device: torch.device) -> int:
    """Loader processes for this process: on a GPU all cores but one, shared out evenly among the
    machine's processes; on the CPU one, since there the network takes the cores."""
    if device.type != "cuda":
        return 1
    # The cores that this process may use: fewer than the machine's in a container.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(MOST_WORKERS, max(1, share - 1))


def has_bf16(device: torch.device) -> bool:
    """Whether the GPU computes in bf16 itself; False for the CPU, where few do."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def described(device: torch.device) -> str:
    """The device in words: cpu, or cuda:0 and its name."""
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"


def on_this_machine(options: TrainOptions, images: int, team: Processes) -> TrainOptions:
    """The options, with what nobody asked for as the data and the machine have it."""
    workers = default_workers(team.device) if options.workers is None else options.workers
    shares = team.world * options.accumulate
    # The rounding of INT8 is learned in fp32 alone.
    in_bf16 = has_bf16(team.device) and not options.qat
    recipe = fitted(options.recipe, options.unasked, images, shares, in_bf16)
    return replace(options, workers=workers, recipe=recipe)
