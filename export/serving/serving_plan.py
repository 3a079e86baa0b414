"""How a model file is to be served: backend, device, shapes; and what cannot work, refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from export.serving.candidate import ServingCandidate
from runtime.errors import InputError

ONNXRUNTIME, TENSORRT, PYTHON = "onnxruntime", "tensorrt", "python"
BACKENDS = (ONNXRUNTIME, TENSORRT, PYTHON)
CPU, GPU = "cpu", "gpu"
MAX_BATCH, QUEUE_MS = 8, 1000
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class TritonOptions:
    """output: the repository. name: of the model; None for the file's.
    max_batch: frames that the server joins into one call; None for 8, or what the engine takes.
    backend: None for what fits the file. device: cpu or gpu; None for what fits the backend.
    size: (height, width) that a file of any size is to take alone; None for any size.
    queue_ms: how long a frame may wait for its turn, in milliseconds; it is refused then.
    card: of a file that carries none."""

    output: Path
    name: str | None = None
    max_batch: int | None = None
    backend: str | None = None
    device: str | None = None
    size: tuple[int, int] | None = None
    queue_ms: int = QUEUE_MS
    card: Path | None = None


@dataclass(frozen=True)
class ServingPlan:
    """max_batch: 0 where the file has a batch of its own, the first entry of `frame_dims` then.
    frame_dims, mask_dims: of one request, -1 for a free dimension; without the batch, unless
    max_batch is 0."""

    name: str
    backend: str
    device: str
    max_batch: int
    frame_dims: tuple[int, ...]
    mask_dims: tuple[int, ...]
    queue_ms: int

    @property
    def any_size(self) -> bool:
        return -1 in self.frame_dims


def serving_plan(candidate: ServingCandidate, options: TritonOptions) -> ServingPlan:
    """Decide what the options leave open; InputError for what Triton could not serve."""
    name = options.name or candidate.path.stem.replace(".", "-")
    if not NAME.fullmatch(name):
        raise InputError(
            f"--name {name!r}; expected letters, digits, '_', '-' and '.', as in street-fp16"
        )
    backend = _backend(candidate, options.backend)
    max_batch = _max_batch(candidate, backend, options.max_batch)
    height, width = _size(candidate, options.size)
    batch = () if max_batch else (candidate.shape[0] or 1,)
    dims = (*batch, height or -1, width or -1)
    device = _device(candidate, backend, options.device)
    return ServingPlan(name, backend, device, max_batch, (*dims, 3), dims, options.queue_ms)


def _backend(candidate: ServingCandidate, asked: str | None) -> str:
    file, engine = candidate.path.name, candidate.engine
    order = candidate.card.channel_order
    if order != "BGR":  # clients send BGR, and only our own code in the server turns it round
        if asked not in (None, PYTHON):
            raise InputError(
                f"{file} takes {order} frames, as its card says, and clients send BGR; use "
                "--backend python, which turns the channels round"
            )
        return PYTHON
    if engine is None:
        if asked == TENSORRT:
            raise InputError(
                f"{file} is an ONNX file, and Triton's tensorrt backend takes engines; use "
                "--backend onnxruntime, or build one: refinenet build --runtime tensorrt"
            )
        return asked or ONNXRUNTIME
    if asked == ONNXRUNTIME:
        raise InputError(
            f"{file} is an engine, and Triton's onnxruntime backend takes ONNX files; use "
            "--backend tensorrt or python, or give the .onnx file"
        )
    if engine.package == "rtx" and asked == TENSORRT:
        raise InputError(
            f"{file} was built with TensorRT-RTX, and Triton's tensorrt backend loads engines of "
            "full TensorRT alone; use --backend python, or build the ONNX file on the server's GPU "
            "with --runtime tensorrt"
        )
    return asked or (PYTHON if engine.package == "rtx" else TENSORRT)


def _max_batch(candidate: ServingCandidate, backend: str, asked: int | None) -> int:
    own = candidate.shape[0]
    if own is not None:
        if asked is not None:
            raise InputError(
                f"{candidate.path.name} takes {own} frames in every call, so --max-batch would "
                "change nothing; leave it out, or export with --dynamic"
            )
        return 0
    if candidate.engine is None:
        return asked or MAX_BATCH
    smallest, largest = candidate.engine.smallest[0], candidate.engine.largest[0]
    if smallest > 1 and backend == TENSORRT:
        raise InputError(
            f"{candidate.path.name} takes batches of at least {smallest}, and Triton asks for "
            "single frames too; build it with --min-shape of batch 1"
        )
    if asked is not None and asked > largest:
        raise InputError(
            f"--max-batch {asked}; {candidate.path.name} was built for batches of at most "
            f"{largest}. Give at most that, or build it with a larger --max-shape"
        )
    return asked or min(MAX_BATCH, largest)


def _size(
    candidate: ServingCandidate, asked: tuple[int, int] | None
) -> tuple[int | None, int | None]:
    _, height, width = candidate.shape
    if asked is None:
        return height, width
    if height is not None and width is not None:
        raise InputError(
            f"{candidate.path.name} takes frames of {height}x{width} alone; leave --size out"
        )
    multiple = candidate.card.size_multiple
    if any(side % multiple for side in asked):
        raise InputError(
            f"--size {asked[0]}x{asked[1]}; {candidate.path.name} takes sides that are multiples "
            f"of {multiple}"
        )
    if candidate.engine is not None:
        least, most = candidate.engine.smallest[1:], candidate.engine.largest[1:]
        if any(not low <= n <= high for low, n, high in zip(least, asked, most, strict=True)):
            raise InputError(
                f"--size {asked[0]}x{asked[1]}; {candidate.path.name} was built for "
                f"{least[0]}x{least[1]} to {most[0]}x{most[1]}"
            )
    return asked


def _device(candidate: ServingCandidate, backend: str, asked: str | None) -> str:
    if candidate.engine is not None and asked == CPU:
        raise InputError(
            f"{candidate.path.name} is an engine, which needs a GPU; leave --device cpu out, or "
            "give the .onnx file"
        )
    on_cpu = candidate.engine is None and backend == PYTHON
    return asked or (CPU if on_cpu else GPU)
