"""PyTorch as a backend: what the others must agree with, and what they must be faster than."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.backends import Backend, Candidate
from export.frame_model import FrameModel
from refinenet.checkpoints import load_checkpoint, weights_path

REFERENCE = "PyTorch eager"


class TorchBackend:
    """A network in FP32 on the CPU, with the same work around it as in the exported graph."""

    def __init__(self, model: FrameModel) -> None:
        self.description = f"PyTorch {torch.__version__}, CPU, {torch.get_num_threads()} threads"
        self._model: FrameModel | None = model

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        """(N, H, W, 3) uint8 BGR to (N, H, W) uint8."""
        if self._model is None:
            raise RuntimeError("this backend is closed")
        with torch.inference_mode():
            masks: NDArray[np.uint8] = self._model(torch.from_numpy(frames)).numpy()
        return masks

    def close(self) -> None:
        self._model = None


def torch_candidates(weights: str | Path, threads: int | None) -> list[Candidate]:
    """PyTorch eager, contiguous (the reference) and channels_last, which CPUs often prefer.

    weights: a file, or the name of weights that ship with the package.
    threads: for all of PyTorch in this process, or None for its own choice.

    Raises InputError if the weights cannot be read, CheckpointError if they fit no network.
    """
    file = weights_path(weights)
    # FP32 whatever the file stores: load_checkpoint fills a network of float32.
    card = replace(load_checkpoint(file)[1], precision="fp32")
    if threads is not None:
        torch.set_num_threads(threads)
    layouts = {
        REFERENCE: torch.contiguous_format,
        f"{REFERENCE}, channels_last": torch.channels_last,
    }
    return [
        Candidate(name, file, card, partial(_opener, file, layout))
        for name, layout in layouts.items()
    ]


def _opener(file: Path, layout: torch.memory_format) -> Callable[[], Backend]:
    return partial(_open, file, layout)


def _open(file: Path, layout: torch.memory_format) -> Backend:
    network, card = load_checkpoint(file)
    network = network.to(memory_format=layout)  # type: ignore[call-overload]  # not in the stubs
    return TorchBackend(FrameModel(network, card).eval())
