"""Frames on the GPU for ONNX Runtime: waited for, and laid out as it reads them.

It is given an address and knows of no stream but its own: whoever does not wait for the producer
gets wrong masks (onnxruntime issues 11875, 32673). IOBinding.synchronize_inputs() is no way to do
so: "provider specific and could be a no-op" (onnxruntime_c_api.h). The CUDA provider waits for the
whole GPU; the TensorRT provider's library (1.31.1) has no cudaDeviceSynchronize, so that it can
only wait for streams that it knows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from types import ModuleType
from typing import Any

from runtime.cuda import gpu
from runtime.cuda.gpu_frames import GpuFrames
from runtime.errors import DeployError

# Of a tensor's address: IExecutionContext::setTensorAddress, NvInferRuntime.h.
ALIGNMENT_BYTES = 256


class FrameIntake:
    """A stream to wait on, and memory for frames that cannot be read where they lie.

    Nothing of it exists before the first frame that needs it: a frame that is ready, contiguous and
    aligned needs no CUDA of ours. Any thread may use it.
    """

    def __init__(self, gpu_index: int) -> None:
        """gpu_index: of the GPU that ONNX Runtime computes on."""
        self._gpu_index, self._lock, self._closed = gpu_index, threading.Lock(), False
        self._context: Any = None
        self._buffer: Any = None

    def arrived(self, frames: GpuFrames) -> GpuFrames:
        """The frames once their producer has written them; no stream is to be waited for then.

        To be asked in the thread that gave them: stream 2 is another one in each thread.

        Raises MissingPackage without an implementation of CUDA, DeviceError if CUDA or the producer
        failed, DeployError after close().
        """
        if frames.producer is None:
            return frames
        with self._entered() as cuda:
            cuda.wait_for_producer(self._stream, frames.producer)
            self._stream.synchronize()
        return replace(frames, producer=None)

    def address(self, frames: GpuFrames) -> int:
        """Where frames that have arrived lie row by row, at an aligned address.

        That is where they are, or else a copy on the GPU, which lasts until the next one.

        Raises what arrived() raises.
        """
        batch, height, width, channels = frames.shape
        row_bytes = width * channels
        if frames.pitch_bytes == row_bytes and frames.address % ALIGNMENT_BYTES == 0:
            return frames.address
        with self._entered() as cuda:
            self._make_room(cuda, prod(frames.shape))
            cuda.copy_on_device(
                self._buffer.address, frames.address, row_bytes, batch * height,
                frames.pitch_bytes, self._stream,
            )  # fmt: skip
            self._stream.synchronize()
            return int(self._buffer.address)

    def _make_room(self, cuda: ModuleType, size_bytes: int) -> None:
        if self._buffer is not None and self._buffer.size_bytes < size_bytes:
            self._buffer.close()
            self._buffer = None
        if self._buffer is None:
            self._buffer = cuda.DeviceBuffer(size_bytes)

    @contextmanager
    def _entered(self) -> Iterator[ModuleType]:
        """CUDA in the GPU's context, for one thread at a time."""
        with self._lock:
            if self._closed:
                raise DeployError("the ONNX file was closed; open it again")
            if self._context is None:
                self._open()
            with self._context:
                yield self._cuda

    def _open(self) -> None:
        self._cuda = gpu.choose()
        context = self._cuda.Context(self._gpu_index)
        try:
            with context:
                self._stream = self._cuda.Stream()
        except BaseException:
            context.close()
            raise
        self._context = context

    def close(self) -> None:
        """Free what there is, once no thread waits in it; again, it does nothing."""
        with self._lock:
            self._closed = True
            context, self._context = self._context, None
            if context is None:
                return
            try:
                with context, self._stream:
                    if self._buffer is not None:
                        self._buffer.close()
            finally:
                context.close()
