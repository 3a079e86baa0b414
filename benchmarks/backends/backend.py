"""What can be measured: PyTorch, and every file that the runtime can run, behind one face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.card import Card, needed_card, read_card, read_sidecar
from runtime.errors import DeployError, InputError
from runtime.files import existing_file, sha256_of
from runtime.onnx.frame_file import read_frame_card
from runtime.remote.served_model import ServedModel, served_model
from runtime.shipped import shipped_weights
from runtime.tensorrt_api import TITLES

MODEL_ENDINGS = (".onnx", ".engine")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
CPU, CUDA = "cpu", "cuda"

ONNX_RUNTIME_CPU, TRITON = "ONNX Runtime CPU", "Triton"
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
    served: what a server says of it; None for what runs in this process. `file` is its name then.
    """

    name: str
    device: str
    file: Path
    card: Card
    opener: Callable[[], Callable[[], Backend]]
    streamed: bool = False
    served: ServedModel | None = None

    @property
    def batch(self) -> int | None:
        """Frames that every call must have; None for any number."""
        return self.card.input_shape[0] if self.card.input_shape else None

    @property
    def sha256(self) -> str:
        return sha256_of(self.file) if self.served is None else self.served.sha256 or ""

    @property
    def size_bytes(self) -> int:
        return self.file.stat().st_size if self.served is None else self.served.size_bytes or 0

    def refusal(self, batch: int, size: tuple[int, int]) -> str | None:
        """Why it cannot take this batch and size; None if it can."""
        if self.batch not in (None, batch):
            return f"it takes {self.batch} frames at a time"
        own = self.card.frame_size
        return None if own in (None, size) else f"it takes frames of {own[0]}x{own[1]}"


def models_and_weights(
    models: Sequence[Path | str], weights: str | None
) -> tuple[tuple[Path | str, ...], str | None]:
    """The models that are files or addresses, and the weights for PyTorch: --weights, or a name of
    shipped weights among the models. InputError for weights of several networks."""
    named = [str(model) for model in models if shipped_weights(model) is not None]
    files = tuple(model for model in models if str(model) not in named)
    found = list(dict.fromkeys([*named, *([weights] if weights else [])]))
    if len(found) > 1:
        raise InputError(f"weights of one network at a time; found {', '.join(found)}")
    return files, found[0] if found else None


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


def file_candidates(
    file: Path, threads: int | None, against: Sequence[str], card_file: Path | None = None
) -> list[Candidate]:
    """The backends of an .onnx or .engine file.

    threads: for ONNX Runtime's CPU provider, or None for its own choice.
    against: names of PROVIDERS that run an .onnx file besides the CPU's.
    card_file: the card of a file that carries none.

    Raises InputError if the file is no whole model, or gives anything else than masks.
    """
    given = needed_card(file, card_file)
    card = read_card(file, given) if file.suffix == ".engine" else read_frame_card(file, given)
    if card.output_kind != "mask":
        raise InputError(
            f"{file} gives {card.output_kind}; expected a mask. Export it with --output-kind mask"
        )
    if file.suffix == ".engine":
        return _engine_candidates(file, card, given)
    on_cpu = partial(_onnx_opener, file, "cpu", threads, given)
    on_gpu = (PROVIDERS[word] for word in against if word in PROVIDERS)
    return [
        Candidate(ONNX_RUNTIME_CPU, CPU, file, card, on_cpu),
        *(
            Candidate(name, CUDA, file, card, partial(_onnx_opener, file, provider, None, given))
            for provider, name in on_gpu
        ),
    ]


def served_candidate(address: str) -> Candidate:
    """A model in a server, asked as any client asks it.

    Raises InputError if the server does not say which file it serves, and what served_model raises.
    """
    served = served_model(address)
    if served.sha256 is None or served.size_bytes is None:
        raise InputError(
            f"{address} does not say which file it serves, so its figures could not be told from "
            "another's; write its repository with refinenet export-triton"
        )
    card = replace(served.card, input_shape=served.input_shape)
    device = CUDA if served.on_gpu else CPU
    name, file = f"{TRITON}, {served.backend}", Path(served.address.name)
    return Candidate(name, device, file, card, partial(_served_opener, address), served=served)


def _served_opener(address: str) -> Callable[[], Backend]:
    from runtime.remote.triton_session import TritonSession

    return partial(TritonSession.open, address)


def _engine_name(file: Path) -> str:
    """TensorRT or TensorRT-RTX, as the sidecar says; a foreign engine does not say."""
    sidecar = read_sidecar(file)
    package = sidecar.build.get("package") if sidecar else None
    return TITLES.get(str(package), "TensorRT engine")


def _engine_candidates(file: Path, card: Card, given: str | Path | None) -> list[Candidate]:
    """Launched layer by layer, as one CUDA graph, and that with frames that overlap."""
    name = _engine_name(file)
    opener = partial(_engine_opener, file, given)
    plain = partial(opener, cuda_graph=False, streamed=False)
    graph = partial(opener, cuda_graph=True, streamed=False)
    streamed = partial(opener, cuda_graph=None, streamed=True)
    return [
        Candidate(name, CUDA, file, card, plain),
        Candidate(f"{name}, CUDA graph", CUDA, file, card, graph),
        Candidate(f"{name}, streamed", CUDA, file, card, streamed, streamed=True),
    ]


def _engine_opener(
    file: Path, card: str | Path | None, cuda_graph: bool | None, streamed: bool
) -> Callable[[], Backend]:
    from runtime.engine.engine import Engine
    from runtime.engine.loaded_engine import EngineOptions

    # Without the kernels that an earlier row left beside the file: each shows its own first frame.
    options = EngineOptions(cuda_graph=cuda_graph, runtime_cache=False)
    if streamed:
        return lambda: Streamed(Engine.open(file, card=card, options=options))
    return partial(Engine.open, file, card=card, options=options)


def _onnx_opener(
    file: Path, provider: str, threads: int | None, card: str | Path | None
) -> Callable[[], Backend]:
    from runtime.onnx.session import OnnxSession

    return partial(OnnxSession.open, file, provider=provider, threads=threads, card=card)
