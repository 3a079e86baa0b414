"""What can be measured: PyTorch, and every file that the runtime can run, behind one face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.card import Card, read_card, read_sidecar
from runtime.errors import DeployError, InputError
from runtime.files import existing_file
from runtime.tensorrt_api import TITLES

MODEL_ENDINGS = (".onnx", ".engine")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
CPU, CUDA = "cpu", "cuda"

ONNX_RUNTIME_CPU = "ONNX Runtime CPU"
PROVIDERS = MappingProxyType(  # by what --against calls them; the CPU's is always measured
    {
        "onnxruntime-cuda": ("cuda", "ONNX Runtime CUDA"),
        "onnxruntime-tensorrt": ("tensorrt", "ONNX Runtime TensorRT"),
        "onnxruntime-rtx": ("rtx", "ONNX Runtime TensorRT-RTX"),
    }
)


class Backend(Protocol):
    """Something that turns frames into masks.

    description: library, version and device, for the record.
    A call takes (N, H, W, 3) uint8 BGR frames in host memory and returns the (N, H, W) uint8 masks
    in host memory, finished: nothing of it is still on its way. It raises DeviceError where the
    device or the library fails; whatever else it raises costs it its row too, and no other.
    """

    @property
    def description(self) -> str: ...
    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]: ...
    def close(self) -> None: ...


def reason_of(error: Exception) -> str:
    """Why a backend is lost, for the record: our own errors speak for themselves, any other is
    named, with its first line."""
    if isinstance(error, DeployError):
        return str(error)
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"


class Job(Protocol):
    """Frames under way."""

    def result(self) -> NDArray[np.uint8]:
        """Wait for the (N, H, W) uint8 masks."""
        ...


class Submitting(Backend, Protocol):
    """A backend that takes frames before the masks of the last ones are there, as Engine does."""

    def submit(self, frames: NDArray[np.uint8], /) -> Job: ...


class Streamed:
    """A backend whose frames overlap: the copies of one with the computation of another."""

    def __init__(self, backend: Submitting) -> None:
        self._backend = backend
        self.description = f"{backend.description}, streamed"

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]:
        return self.submit(frames).result()

    def submit(self, frames: NDArray[np.uint8]) -> Job:
        return self._backend.submit(frames)

    def close(self) -> None:
        self._backend.close()


@dataclass(frozen=True)
class Candidate:
    """A backend that is yet to be opened, so that one which cannot be still has its row.

    device: cpu or cuda, where it computes.
    file: the model, for PyTorch the weights. card: its input_shape says which batch and size it
    takes; None, or None in it, takes any.
    opener: imports what the backend needs and returns the function that opens it, so that loading
    can be timed without the import. Both raise where the backend cannot run here.
    streamed: what it opens is Streamed, and for the offline scenario alone.
    """

    name: str
    device: str
    file: Path
    card: Card
    opener: Callable[[], Callable[[], Backend]]
    streamed: bool = False

    @property
    def batch(self) -> int | None:
        """Frames that every call must have; None for any number."""
        return self.card.input_shape[0] if self.card.input_shape else None

    def refusal(self, batch: int, size: tuple[int, int]) -> str | None:
        """Why it cannot take this batch and size; None if it can."""
        if self.batch not in (None, batch):
            return f"it takes {self.batch} frames at a time"
        own = self.card.frame_size
        return None if own in (None, size) else f"it takes frames of {own[0]}x{own[1]}"


def model_files(paths: Sequence[str | Path]) -> list[Path]:
    """The .onnx and .engine files named, and those in the folders named, ONNX first, FP32 first.

    Raises InputError for a missing file, another ending, or a folder without models.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = _models_in(path) if path.is_dir() else [existing_file(path)]
        if strangers := [file for file in found if file.suffix not in MODEL_ENDINGS]:
            raise InputError(
                f"{strangers[0]} is no model to benchmark; expected {' or '.join(MODEL_ENDINGS)}. "
                "Give weights with --weights"
            )
        files += found
    return list(dict.fromkeys(files))


def _models_in(folder: Path) -> list[Path]:
    files = sorted((f for f in folder.iterdir() if f.suffix in MODEL_ENDINGS), key=_order)
    if not files:
        raise InputError(
            f"{folder} holds no {' or '.join(MODEL_ENDINGS)} file; write some with refinenet export"
        )
    return files


def _order(file: Path) -> tuple[int, list[int], str]:
    """Of the table's rows: NAME.fp32.onnx before NAME.fp16.onnx before NAME.fp16.rtx.engine."""
    precision = [PRECISIONS.index(part) for part in file.name.split(".") if part in PRECISIONS]
    return MODEL_ENDINGS.index(file.suffix), precision, file.name


def file_candidates(file: Path, threads: int | None, against: Sequence[str]) -> list[Candidate]:
    """The backends of an .onnx or .engine file.

    threads: for ONNX Runtime's CPU provider, or None for its own choice.
    against: names of PROVIDERS that run an .onnx file besides the CPU's.

    Raises InputError if the file is no whole model, or gives anything else than masks.
    """
    card = read_card(file)
    if card.output_kind != "mask":
        raise InputError(
            f"{file} gives {card.output_kind}; expected a mask. Export it with --output-kind mask"
        )
    if file.suffix == ".engine":
        return _engine_candidates(file, card)
    on_cpu = partial(_onnx_opener, file, "cpu", threads)
    on_gpu = (PROVIDERS[word] for word in against if word in PROVIDERS)
    return [
        Candidate(ONNX_RUNTIME_CPU, CPU, file, card, on_cpu),
        *(
            Candidate(name, CUDA, file, card, partial(_onnx_opener, file, provider, None))
            for provider, name in on_gpu
        ),
    ]


def _engine_name(file: Path) -> str:
    """TensorRT or TensorRT-RTX, as the sidecar says; a foreign engine does not say."""
    sidecar = read_sidecar(file)
    package = sidecar.build.get("package") if sidecar else None
    return TITLES.get(str(package), "TensorRT engine")


def _engine_candidates(file: Path, card: Card) -> list[Candidate]:
    """Launched layer by layer, as one CUDA graph, and that with frames that overlap."""
    name = _engine_name(file)
    plain = partial(_engine_opener, file, cuda_graph=False, streamed=False)
    graph = partial(_engine_opener, file, cuda_graph=True, streamed=False)
    streamed = partial(_engine_opener, file, cuda_graph=None, streamed=True)
    return [
        Candidate(name, CUDA, file, card, plain),
        Candidate(f"{name}, CUDA graph", CUDA, file, card, graph),
        Candidate(f"{name}, streamed", CUDA, file, card, streamed, streamed=True),
    ]


def _engine_opener(file: Path, cuda_graph: bool | None, streamed: bool) -> Callable[[], Backend]:
    from runtime.engine.engine import Engine
    from runtime.engine.loaded_engine import EngineOptions

    # Without the kernels that an earlier row left beside the file: each shows its own first frame.
    options = EngineOptions(cuda_graph=cuda_graph, runtime_cache=False)
    if streamed:
        return lambda: Streamed(Engine.open(file, options=options))
    return partial(Engine.open, file, options=options)


def _onnx_opener(file: Path, provider: str, threads: int | None) -> Callable[[], Backend]:
    from runtime.onnx.session import OnnxSession

    return partial(OnnxSession.open, file, provider=provider, threads=threads)
