"""Where an engine's time goes: copy in, enqueue, compute, copy out, each waited for by itself.

The terms are trtexec's. Waiting after every step costs a few microseconds each, and keeps frames
from overlapping: the sum says what one frame needs, not what a stream of them reaches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from math import prod
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from benchmarks.records.measurements import Phases
from runtime import tensorrt_api
from runtime.card import read_sidecar
from runtime.cuda import gpu
from runtime.engine.loaded_engine import EngineOptions, LoadedEngine

SMALLEST_SCRATCH = 256  # TensorRT's alignment; an engine may say that it needs none
WARM_UP, COUNT = 10, 100


def engine_phases(file: Path, frames: NDArray[np.uint8]) -> Phases:
    """Run the engine COUNT times on frames of (N, H, W, 3) uint8 BGR.

    file: an engine that Engine.open has accepted on this machine.

    Raises DeviceError if CUDA or TensorRT refuses the work, or without room for a second copy.
    """
    sidecar = read_sidecar(file)
    build = sidecar.build if sidecar else {}
    package = str(build.get("package") or tensorrt_api.default_runtime())
    compatible = build.get("version_compatible") is True
    trt = tensorrt_api.load_for_running(package, version_compatible=compatible)
    options = EngineOptions(cuda_graph=False, version_compatible=compatible)
    cuda = gpu.choose()
    context = cuda.Context()
    with ExitStack() as owned:
        owned.callback(context.close)
        owned.enter_context(context)
        loaded = LoadedEngine(file, trt, cuda.current_device(), options)
        owned.callback(loaded.close)
        steps = _steps(loaded, cuda, frames, owned)
        for _ in range(WARM_UP):
            steps()
        rounds = [steps() for _ in range(COUNT)]
    enqueue, h2d, compute, d2h = zip(*rounds, strict=True)
    return Phases(enqueue, h2d, compute, d2h)


def _steps(
    loaded: LoadedEngine, cuda: ModuleType, frames: NDArray[np.uint8], owned: ExitStack
) -> Callable[[], tuple[float, float, float, float]]:
    """Everything allocated; a call runs one batch and returns (enqueue, h2d, compute, d2h) ms."""
    execution = loaded.new_context()
    scratch_bytes = max(loaded.scratch_bytes, SMALLEST_SCRATCH)
    scratch = owned.enter_context(cuda.DeviceBuffer(scratch_bytes))
    execution.set_device_memory(scratch.address, scratch_bytes)
    stream = owned.enter_context(cuda.Stream())
    profile = loaded.profile_for(frames.shape)
    if profile != execution.active_optimization_profile:
        changed = execution.set_optimization_profile_async(profile, stream.handle)
        loaded.require(changed, "set_optimization_profile_async")
    loaded.require(execution.set_input_shape(loaded.input, frames.shape), "set_input_shape")
    out_bytes = prod(execution.get_tensor_shape(loaded.output)) * loaded.dtype.itemsize
    host_in = owned.enter_context(cuda.PinnedBuffer(frames.nbytes))
    host_out = owned.enter_context(cuda.PinnedBuffer(out_bytes))
    device_in = owned.enter_context(cuda.DeviceBuffer(frames.nbytes))
    device_out = owned.enter_context(cuda.DeviceBuffer(out_bytes))
    for name, buffer in ((loaded.input, device_in), (loaded.output, device_out)):
        bound = execution.set_tensor_address(name, buffer.address)
        loaded.require(bound, "set_tensor_address")
    np.copyto(host_in.array, frames.reshape(-1))

    def step() -> tuple[float, float, float, float]:
        start = time.perf_counter_ns()
        cuda.copy_to_device(device_in, host_in, frames.nbytes, stream)
        stream.synchronize()
        copied = time.perf_counter_ns()
        loaded.require(execution.execute_async_v3(stream.handle), "execute_async_v3")
        enqueued = time.perf_counter_ns()
        stream.synchronize()
        computed = time.perf_counter_ns()
        cuda.copy_to_host(host_out, device_out, out_bytes, stream)
        stream.synchronize()
        done = time.perf_counter_ns()
        return (
            _ms(enqueued - copied),
            _ms(copied - start),
            _ms(computed - copied),
            _ms(done - computed),
        )

    return step


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / 1e6, 3)
