"""One TensorRT context with the memory it reads and writes: one batch is under way in it."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.cuda.gpu_frames import GpuFrames
from runtime.engine.loaded_engine import LoadedEngine, Shape
from runtime.errors import DeployError, DeviceError
from runtime.frames import Frame, check_out


@dataclass
class Shared:
    """What the lanes of one engine have in common.

    scratch: the memory that every context computes in, one at a time.
    turn: the end of the last computation put on any stream.
    order: held while a computation is put on a stream, so that each waits for the one before it.
    mapped: the GPU works in the host's memory; there is nothing to copy.
    graphs: capture the work in CUDA graphs; None: if it can be.
    """

    cuda: ModuleType
    engine: LoadedEngine
    scratch: Any
    turn: Any
    order: threading.Lock
    mapped: bool
    graphs: bool | None


class Lane:
    """A context, its stream, and buffers for the largest shape of any profile, bound once.

    busy: held by whoever touches the buffers; close() waits for it.
    """

    def __init__(self, shared: Shared) -> None:
        """Allocate everything; DeviceError if there is no room."""
        self._shared, self._cuda, self._engine = shared, shared.cuda, shared.engine
        self.busy, self.closed = threading.Lock(), False
        self._shape: Shape = ()
        self._profile = -1
        self._graph: Any = None
        self._warm = False
        self._source: Frame | GpuFrames | None = None
        with ExitStack() as resources:
            self._stream = resources.enter_context(self._cuda.Stream())
            self._context = self._engine.new_context()
            self._context.set_device_memory(shared.scratch.address, shared.scratch.size_bytes)
            self._profile = self._context.active_optimization_profile
            self._allocate(resources, *self._largest_sizes())
            self._resources = resources.pop_all()

    def _largest_sizes(self) -> tuple[int, int]:
        """Bytes of the largest input and of the largest output."""
        inputs, outputs = [], []
        for profile in self._engine.profiles:
            self._set_shape(profile.largest)
            inputs.append(prod(profile.largest))
            outputs.append(prod(self._output_shape) * self._engine.dtype.itemsize)
        return max(inputs), max(outputs)

    def _allocate(self, resources: ExitStack, input_bytes: int, output_bytes: int) -> None:
        cuda, mapped = self._cuda, self._shared.mapped
        self._host_in = resources.enter_context(cuda.PinnedBuffer(input_bytes, mapped=mapped))
        self._host_out = resources.enter_context(cuda.PinnedBuffer(output_bytes, mapped=mapped))
        if mapped:
            self._address_in = self._host_in.device_address
            self._address_out = self._host_out.device_address
        else:
            self._device_in = resources.enter_context(cuda.DeviceBuffer(input_bytes))
            self._device_out = resources.enter_context(cuda.DeviceBuffer(output_bytes))
            self._address_in = self._device_in.address
            self._address_out = self._device_out.address
        for name, address in (
            (self._engine.input, self._address_in),
            (self._engine.output, self._address_out),
        ):
            bound = self._context.set_tensor_address(name, address)
            self._engine.require(bound, "set_tensor_address")
        self._view(self._shape)

    def submit(self, frames: Frame | GpuFrames) -> None:
        """Put copy in, computation and copy out on the stream, and return before they are done.

        The caller holds `busy` and has entered the CUDA context. A frame on the host is copied and
        free again; one on the GPU is read until collect().
        """
        if frames.shape != self._shape:
            self._set_shape(frames.shape)
            self._view(frames.shape)
        self._copy_in(frames)
        with self._shared.order:
            self._stream.wait(self._shared.turn)
            try:
                self._compute()
            finally:  # what fails may have put a part of its kernels on the stream
                self._shared.turn.record(self._stream)
        if not self._shared.mapped:
            size_bytes = self._masks.nbytes
            self._cuda.copy_to_host(self._host_out, self._device_out, size_bytes, self._stream)

    def collect(self, out: NDArray[Any] | None) -> NDArray[Any]:
        """Wait for the batch and copy its result out of the pinned memory.

        The caller holds `busy` and has entered the CUDA context.
        """
        self._stream.synchronize()
        self._source = None
        if out is None:
            out = np.empty(self._output_shape, self._engine.dtype)
        check_out(out, self._output_shape, self._engine.dtype)
        np.copyto(out, self._masks)
        return out

    def require_open(self) -> None:
        """DeployError once it is closed; the caller holds `busy`, so that it stays as it is."""
        if self.closed:
            raise DeployError("the engine was closed; open it again")

    def _copy_in(self, frames: Frame | GpuFrames) -> None:
        if isinstance(frames, GpuFrames):
            self._source = frames
            if frames.producer is not None:
                self._cuda.wait_for_producer(self._stream, frames.producer)
            batch, height, width, channels = frames.shape
            rows, row_bytes = batch * height, width * channels
            self._cuda.copy_on_device(
                self._address_in, frames.address, row_bytes, rows, frames.pitch_bytes, self._stream
            )
            return
        np.copyto(self._frames, frames)
        if not self._shared.mapped:
            size_bytes = self._frames.nbytes
            self._cuda.copy_to_device(self._device_in, self._host_in, size_bytes, self._stream)

    def _compute(self) -> None:
        """The network: as a graph, once one run of this shape has shown that it works."""
        if self._graph is None and self._warm and self._shared.graphs is not False:
            self._capture()
        if self._graph is not None:
            self._graph.launch(self._stream)
        else:
            self._execute()
            self._warm = True

    def _execute(self) -> None:
        done = self._context.execute_async_v3(self._stream.handle)
        self._engine.require(done, "execute_async_v3")

    def _capture(self) -> None:
        try:
            self._graph = self._cuda.Graph(self._stream, self._execute)
        except DeviceError as error:
            if self._shared.graphs:
                raise DeviceError(f"{error}. Without a CUDA graph: cuda_graph=False") from error
            self._shared.graphs = False
            self._engine.notes.append(f"runs without a CUDA graph: {error}")

    def _set_shape(self, shape: Shape) -> None:
        """Tell the context the input's shape; a graph of another shape is of no use any more."""
        profile = self._engine.profile_for(shape)
        self._drop_graph()
        self._shape = ()
        if profile != self._profile:
            changed = self._context.set_optimization_profile_async(profile, self._stream.handle)
            self._engine.require(changed, "set_optimization_profile_async")
            self._profile = profile
        taken = self._context.set_input_shape(self._engine.input, shape)
        self._engine.require(taken, "set_input_shape")
        self._shape = shape
        self._output_shape: Shape = tuple(self._context.get_tensor_shape(self._engine.output))

    def _view(self, shape: Shape) -> None:
        """The pinned memory as frames and masks of the present shape."""
        self._frames = self._host_in.array[: prod(shape)].reshape(shape)
        count = prod(self._output_shape)
        masks = self._host_out.array[: count * self._engine.dtype.itemsize]
        self._masks = masks.view(self._engine.dtype).reshape(self._output_shape)

    def _drop_graph(self) -> None:
        graph, self._graph, self._warm = self._graph, None, False
        if graph is not None:
            graph.close()

    def close(self) -> None:
        """Wait for the batch under way and free everything; again, it does nothing.

        The caller has entered the CUDA context.
        """
        with self.busy:
            if self.closed:
                return
            self.closed = True
            with self._resources:
                try:
                    self._stream.synchronize()
                finally:
                    self._drop_graph()
                    # The context may still read the buffers until it is gone.
                    self._context = self._source = None
