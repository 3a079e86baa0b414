"""An ONNX file in ONNX Runtime, behind the same face as an engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.card import CARD_KEY, Card, check_external_data, read_card
from runtime.cuda.gpu_frames import GpuFrames, check_gpu
from runtime.errors import DeployError, DeviceError, InputError
from runtime.files import existing_file
from runtime.frames import Frame, check_batch, check_gpu_order, check_out, in_channel_order
from runtime.metadata import embedded_metadata
from runtime.onnx.frame_file import frame_file
from runtime.onnx.frame_intake import FrameIntake
from runtime.onnx.graph import Value
from runtime.onnx.providers import (
    GPU_INDEX,
    TITLES,
    create_session,
    onnxruntime_version,
    without_prefix,
)

ANY_NUMBER = 2**31 - 1


class OnnxSession:
    """One ONNX file on one execution provider, for one call at a time.

    card: what the file is.
    input_shape: (N, H, W, 3), None for a free dimension.
    output_kind: mask, (N, H, W) uint8, or logits, (N, C, H, W) float.
    batch_limits: the smallest and the largest N.
    description: such as "ONNX Runtime 1.31.1, CPU".
    """

    @classmethod
    def open(
        cls,
        path: str | Path,
        provider: str = "cpu",
        threads: int | None = None,
        *,
        card: str | Path | None = None,
    ) -> OnnxSession:
        """Load the file.

        provider: cpu, cuda, tensorrt or rtx. One that cannot start is an error, and so is a node
        of a file of one size that would be left to the CPU. In a file of any size ONNX Runtime
        computes sizes on the CPU.
        threads: of the CPU; by default as many as it has cores.
        card: the card of a file that carries none.

        Raises InputError if it is no whole ONNX file of a frame model or the weights beside it are
        of another file, CardError without a card, DeviceError if the provider cannot be had.
        """
        path = existing_file(path)
        contents = read_card(path, card)
        check_external_data(path, contents)
        own = card is None and CARD_KEY in embedded_metadata(path)
        session = create_session(path, provider, threads, contents.precision)
        return cls(path, contents, provider, session, own=own)

    def __init__(
        self, path: Path, card: Card, provider: str, session: Any, *, own: bool = True
    ) -> None:
        """own: the file carries its card, and so gives no id that the card does not name."""
        self._path, self.card, self._session = path, card, session
        self._on_gpu, self._intake = provider != "cpu", FrameIntake(GPU_INDEX)
        values = ([*map(_value, given)] for given in (session.get_inputs(), session.get_outputs()))
        self._file = frame_file(path, *values)
        self._input, self._output = self._file.input, self._file.output
        self._direct = self._file.output_kind == "mask" and self._file.plain and own
        self.input_shape: tuple[int | None, ...] = self._file.input_shape
        self.output_kind = self._file.output_kind
        batch = self.input_shape[0]
        self.batch_limits = (batch, batch) if batch else (1, ANY_NUMBER)
        self.description = f"ONNX Runtime {onnxruntime_version()}, {TITLES[provider]}"

    def __call__(self, frames: Frame | GpuFrames, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Run one batch.

        frames: (N, H, W, 3) uint8, BGR, on the host; for another provider than cpu also on the GPU,
        where they are read until the call returns. A file whose card says RGB is given them so.
        out: an array of the result's shape and dtype to write into; a fresh one otherwise.

        Returns the mask, (N, H, W) uint8; from a logits file (N, C, H, W) float.
        Raises InputError for a shape that the file does not take, DeviceError if ONNX Runtime
        fails, DeployError after close(); for frames on the GPU also what accept() raises.
        """
        self._require_open()
        if isinstance(frames, GpuFrames):
            frames = self.accept(frames)
        else:
            check_batch(frames)
            frames = in_channel_order(frames, self.card.channel_order)
        self._check_shape(frames.shape)
        if out is not None and self._direct and out.flags.c_contiguous:
            check_out(out, frames.shape[:3], np.dtype(np.uint8))
            return self._run_bound(frames, out)
        if isinstance(frames, GpuFrames):
            result = self._run_bound(frames, None)
        else:
            result = self._run(frames)
        if self.output_kind == "mask" and not self._direct:
            result = self._file.mask(result, self._path, len(self.card.classes))
        if out is None:
            return result
        check_out(out, result.shape, result.dtype)
        np.copyto(out, result)
        return out

    def accept(self, frames: GpuFrames) -> GpuFrames:
        """Frames on the GPU as a call takes them in any thread: once their producer wrote them.

        Raises InputError on the CPU provider or for another GPU, MissingPackage if they have a
        producer to wait for and no implementation of CUDA is installed, DeviceError if CUDA fails,
        DeployError after close().
        """
        self._require_open()
        if not self._on_gpu:
            raise InputError(
                f"a frame on the GPU, and ONNX Runtime has {self._path.name} on the CPU; give a "
                "numpy array, or open the file with provider='cuda', 'tensorrt' or 'rtx'"
            )
        check_gpu(frames, GPU_INDEX)
        check_gpu_order(self._path.name, self.card.channel_order)
        return self._intake.arrived(frames)

    def _run(self, frames: Frame) -> NDArray[Any]:
        with self._failures_named():
            result = self._session.run([self._output.name], {self._input.name: frames})[0]
        return np.asarray(result)

    def _run_bound(self, frames: Frame | GpuFrames, out: NDArray[Any] | None) -> NDArray[Any]:
        """Let ONNX Runtime read the frames where they are, and write the mask where the caller
        wants it, without a copy between; without `out`, into memory of its own."""
        if isinstance(frames, GpuFrames):
            device, index, address = "cuda", GPU_INDEX, self._intake.address(frames)
        else:
            frames = np.ascontiguousarray(frames)
            device, index, address = "cpu", 0, frames.ctypes.data
        name = self._output.name
        with self._failures_named():
            binding = self._session.io_binding()
            binding.bind_input(self._input.name, device, index, np.uint8, frames.shape, address)
            # On the host, whatever the provider: the run then ends with the copy and waits for it.
            if out is None:
                binding.bind_output(name, "cpu")
            else:
                binding.bind_output(name, "cpu", 0, out.dtype.type, out.shape, out.ctypes.data)
            self._session.run_with_iobinding(binding)
            return np.asarray(binding.copy_outputs_to_cpu()[0]) if out is None else out

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise DeviceError(f"{self._path.name} failed: {without_prefix(error)}") from error

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        expected = zip(shape, self.input_shape, strict=True)
        if any(wanted is not None and found != wanted for found, wanted in expected):
            raise InputError(
                f"frames of shape {shape}; {self._path.name} takes {self.input_shape}. "
                "Resize the frames, or export with --dynamic"
            )

    def _require_open(self) -> None:
        if self._session is None:
            raise DeployError(f"{self._path.name} was closed; open it again")

    def close(self) -> None:
        """Free the session; calling this again does nothing."""
        self._session = None
        self._intake.close()

    def __enter__(self) -> OnnxSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _value(entry: Any) -> Value:
    """An input or output as ONNX Runtime states it; [] is its shape where it knows none."""
    kind = entry.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(entry.shape) if entry.shape else None
    return Value(
        entry.name, {"float": "fp32", "float16": "fp16", "double": "fp64"}.get(kind, kind), shape
    )
