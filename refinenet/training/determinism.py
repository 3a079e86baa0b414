"""Where chance comes from in a training, and what is left of it to the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_dropout(seed: int, epoch: int, rank: int) -> None:
    """Seed PyTorch's generators, the GPU's too, for one epoch of one process.

    Anew in every epoch, so that a resumed run draws what an unbroken one draws.
    """
    words = np.random.SeedSequence((seed, epoch, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """In this block, only algorithms that give the same bits every time.

    PyTorch raises RuntimeError where it has none; see torch.use_deterministic_algorithms.
    """
    if not wanted:
        yield
        return
    # cuBLAS reads it at its first call, and PyTorch refuses to go on without it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        enabled, cudnn.deterministic, cudnn.benchmark = before
        torch.use_deterministic_algorithms(enabled)


@contextmanager
def fixed_sizes() -> Iterator[None]:
    """In this block, whose images all have one size, cuDNN tries its algorithms and takes the
    fastest, unless only deterministic ones are wanted."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        cudnn.benchmark = before
