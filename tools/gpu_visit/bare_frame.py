"""The least that a frame costs on a GPU: copy in, network, copy out, without an engine of ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
from cuda.bindings import driver
from stand_in.kernels import Kernels, checked
from stand_in.network import StandIn

from runtime.engine.loaded_engine import EngineOptions, LoadedEngine, Shape

IN_A_ROW = 20  # enough that the GPU never waits for the host
REPEATS = 9


class BareFrame:
    """One execution context of the stand-in with its buffers, on a stream of its own.

    A CUDA context is current. Times are medians, by CUDA events, of work put on the GPU in a row.
    """

    def __init__(self, cuda: ModuleType, stand_in: StandIn, path: Path, shape: Shape) -> None:
        """shape: of the frames, (N, H, W, 3)."""
        self._cuda, device, trt = cuda, cuda.current_device(), stand_in.trt
        self._loaded = LoadedEngine(path, trt, device, EngineOptions())
        self.kernels: Kernels = stand_in.kernels
        frame_bytes, mask_bytes = int(np.prod(shape)), int(np.prod(shape[:3]))
        with ExitStack() as resources:
            resources.callback(self._loaded.close)
            self._stream = resources.enter_context(cuda.Stream())
            self._host_in = resources.enter_context(cuda.PinnedBuffer(frame_bytes))
            self._host_out = resources.enter_context(cuda.PinnedBuffer(mask_bytes))
            scratch = resources.enter_context(cuda.DeviceBuffer(self._loaded.scratch_bytes))
            self._frame = resources.enter_context(cuda.DeviceBuffer(frame_bytes))
            self._mask = resources.enter_context(cuda.DeviceBuffer(mask_bytes))
            self._network = self._loaded.new_context()
            self._network.set_device_memory(scratch.address, scratch.size_bytes)
            names, require = (self._loaded.input, self._loaded.output), self._loaded.require
            require(self._network.set_input_shape(names[0], shape), "set_input_shape")
            for name, buffer in zip(names, (self._frame, self._mask), strict=True):
                bound = self._network.set_tensor_address(name, buffer.address)
                require(bound, "set_tensor_address")
            self._marks = [checked(driver.cuEventCreate(0)) for _ in range(2)]
            self._execute()
            self._launch: Callable[[], None] = self._execute
            if cuda.HAS_GRAPHS:
                graph = resources.enter_context(cuda.Graph(self._stream, self._execute))
                self._launch = lambda: graph.launch(self._stream)
            self._resources = resources.pop_all()

    def network_ms(self) -> float:
        """The network alone: what limits the rate of a stream whose copies overlap."""
        return self._timed(self._launch)

    def frame_ms(self) -> float:
        """Copy in, network and copy out, one after the other."""
        return self._timed(self._copy_in, self._launch, self._copy_out)

    def enqueue_us(self) -> float:
        """What the host spends to put the network on the stream."""
        times = []
        for _ in range(REPEATS):
            started = time.perf_counter_ns()
            self._launch()
            times.append((time.perf_counter_ns() - started) / 1e3)
            self._stream.synchronize()
        return median(times)

    def host_copies_us(self, frame: np.ndarray[Any, Any]) -> float:
        """Frame and mask copied by numpy, into and out of pinned memory."""
        times = []
        for _ in range(10 * REPEATS):
            started = time.perf_counter_ns()
            np.copyto(self._host_in.array, frame.ravel())
            self._host_out.array.copy()
            times.append((time.perf_counter_ns() - started) / 1e3)
        return median(times)

    def close(self) -> None:
        """Free everything."""
        with self._resources:
            self._stream.synchronize()
            for mark in self._marks:
                checked(driver.cuEventDestroy(mark))
            self._network = None
            del self._launch  # it holds the graph

    def _timed(self, *steps: Callable[[], None]) -> float:
        times = []
        begin, end = self._marks
        for _ in range(REPEATS):
            for step in steps:  # the first of a row finds the GPU idle, and is not timed
                step()
            checked(driver.cuEventRecord(begin, self._stream.handle))
            for _ in range(IN_A_ROW):
                for step in steps:
                    step()
            checked(driver.cuEventRecord(end, self._stream.handle))
            self._stream.synchronize()
            times.append(checked(driver.cuEventElapsedTime(begin, end)) / IN_A_ROW)
        return median(times)

    def _execute(self) -> None:
        done = self._network.execute_async_v3(self._stream.handle)
        self._loaded.require(done, "execute_async_v3")

    def _copy_in(self) -> None:
        size_bytes = self._host_in.size_bytes
        self._cuda.copy_to_device(self._frame, self._host_in, size_bytes, self._stream)

    def _copy_out(self) -> None:
        size_bytes = self._host_out.size_bytes
        self._cuda.copy_to_host(self._host_out, self._mask, size_bytes, self._stream)
