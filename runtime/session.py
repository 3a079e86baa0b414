"""What runs a model: TensorRT an engine, ONNX Runtime an ONNX file, Triton one that it serves; all
with one face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from runtime.card import Card
from runtime.cuda.gpu_frames import GpuFrames
from runtime.engine.engine import Engine
from runtime.engine.loaded_engine import EngineOptions
from runtime.errors import CardError, InputError
from runtime.frames import Frame
from runtime.remote.address import is_served
from runtime.shipped import graph_file


class Session(Protocol):
    """What Engine, OnnxSession and TritonSession have in common."""

    card: Card
    input_shape: tuple[int | None, ...]
    output_kind: str
    batch_limits: tuple[int, int]
    description: str

    def __call__(
        self, frames: Frame | GpuFrames, out: NDArray[Any] | None = None
    ) -> NDArray[Any]: ...

    def accept(self, frames: GpuFrames) -> GpuFrames:
        """Frames on the GPU as a call takes them, in whatever thread; asked in the one that gave
        them. InputError if they cannot be taken."""
        ...

    def close(self) -> None: ...


def open_session(
    model: str | Path,
    provider: str | None,
    card: str | Path | None,
    threads: int | None,
    options: EngineOptions | None,
) -> Session:
    """By the file's ending, or as an address of a served model.

    Raises InputError for anything else, and what the session's open raises.
    """
    if isinstance(model, str) and is_served(model):
        if provider is not None or threads is not None or options is not None:
            raise InputError(
                f"{model} runs in a server, which has its own; leave provider, threads and options "
                "out"
            )
        from runtime.remote.triton_session import TritonSession  # tritonclient is for it alone

        return TritonSession.open(model, card)
    path = graph_file(model)
    if path.suffix == ".onnx":
        if options is not None:
            raise InputError(f"{path.name} is no engine; options are for .engine files")
        from runtime.onnx.session import OnnxSession  # ONNX Runtime is needed for it alone

        return OnnxSession.open(path, provider or "cpu", threads, card=card)
    if path.suffix == ".engine":
        if provider is not None or threads is not None:
            raise InputError(f"{path.name} is an engine; provider and threads are for .onnx files")
        return Engine.open(path, card=card, options=options)
    raise InputError(
        f"{path} ends in '{path.suffix}'; expected an .onnx or .engine file, or "
        "triton://HOST:PORT/NAME"
    )


def fitting_card(session: Session) -> Card:
    """The card with the file's own input shape; an error if it cannot give masks."""
    card = session.card
    if "logits" in (card.output_kind, session.output_kind):
        raise InputError(
            "this file gives logits; a Segmenter needs a file that gives uint8 masks. "
            "Export it without --output-kind logits"
        )
    stated = card.input_shape or (None, None, None, 3)
    for found, said in zip(session.input_shape, stated, strict=True):
        if found is not None and said is not None and found != said:
            raise CardError(f"the card says {stated}, the file takes {session.input_shape}")
    batch, height, width, _ = (
        said if found is None else found
        for found, said in zip(session.input_shape, stated, strict=True)
    )
    return replace(card, input_shape=(batch, height, width, 3))
