"""What can be measured: PyTorch, and every file that the runtime can run, behind one face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.card import Card, read_card, read_sidecar
from runtime.errors import InputError
from runtime.files import existing_file
from runtime.tensorrt_api import TITLES

MODEL_ENDINGS = (".onnx", ".engine")
PRECISIONS = ("fp32", "fp16", "int8")
ONNX_RUNTIME_CPU = "ONNX Runtime CPU"


class Backend(Protocol):
    """Something that turns frames into masks.

    description: library, version and device, for the record.
    A call takes (N, H, W, 3) uint8 BGR frames in host memory and returns the (N, H, W) uint8 masks
    in host memory, finished: nothing of it is still on its way.
    """

    @property
    def description(self) -> str: ...
    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.uint8]: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Candidate:
    """A backend that is yet to be opened, so that one which cannot be still has its row.

    file: the model, for PyTorch the weights.
    opener: imports what the backend needs and returns the function that opens it, so that loading
    can be timed without the import. Both raise MissingPackage, EngineMismatch or DeviceError where
    the backend cannot run here.
    """

    name: str
    file: Path
    card: Card
    opener: Callable[[], Callable[[], Backend]]


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


def file_candidate(file: Path, threads: int | None) -> Candidate:
    """The backend of an .onnx or .engine file.

    threads: for ONNX Runtime's CPU provider, or None for its own choice.

    Raises InputError if the file is no whole model, or gives anything else than masks.
    """
    card = read_card(file)
    if card.output_kind != "mask":
        raise InputError(
            f"{file} gives {card.output_kind}; expected a mask. Export it with --output-kind mask"
        )
    if file.suffix == ".engine":
        return Candidate(_engine_name(file), file, card, partial(_engine_opener, file))
    return Candidate(ONNX_RUNTIME_CPU, file, card, partial(_onnx_opener, file, threads))


def _engine_name(file: Path) -> str:
    """TensorRT or TensorRT-RTX, as the sidecar says; a foreign engine does not say."""
    sidecar = read_sidecar(file)
    package = sidecar.build.get("package") if sidecar else None
    return TITLES.get(str(package), "TensorRT engine")


def _engine_opener(file: Path) -> Callable[[], Backend]:
    from runtime.engine import Engine

    return partial(Engine.open, file)


def _onnx_opener(file: Path, threads: int | None) -> Callable[[], Backend]:
    from runtime.onnx_session import OnnxSession

    return partial(OnnxSession.open, file, provider="cpu", threads=threads)
