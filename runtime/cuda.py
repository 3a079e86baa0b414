"""The little of CUDA that the runtime needs: a stream, two kinds of memory, two copies.

Written on cuda.bindings.runtime: CUDA's runtime API works in the device's primary context, which
PyTorch and TensorRT share. Every return code is checked.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import DeviceError, MissingPackage

try:
    from cuda.bindings import runtime as cudart
except ModuleNotFoundError as error:
    raise MissingPackage("cuda-python", "cuda13", "CUDA (cuda12 for CUDA 12)") from error


@dataclass(frozen=True)
class Device:
    """A GPU as CUDA describes it.

    compute_capability: such as sm_86.
    driver_cuda: the newest CUDA version that the driver serves, such as 13.0.
    """

    name: str
    compute_capability: str
    driver_cuda: str
    memory_bytes: int


def device_count() -> int:
    """How many GPUs CUDA sees; 0 without a driver. Raises nothing."""
    status, count = cudart.cudaGetDeviceCount()
    return int(count) if status == cudart.cudaError_t.cudaSuccess else 0


def current_device() -> Device:
    """The GPU that this thread uses; DeviceError if there is none."""
    _check("cudaGetDeviceCount", cudart.cudaGetDeviceCount())
    index = _check("cudaGetDevice", cudart.cudaGetDevice())
    facts = _check("cudaGetDeviceProperties", cudart.cudaGetDeviceProperties(index))
    driver = _check("cudaDriverGetVersion", cudart.cudaDriverGetVersion())
    return Device(
        name=facts.name.decode(),
        compute_capability=f"sm_{facts.major}{facts.minor}",
        driver_cuda=f"{driver // 1000}.{driver % 1000 // 10}",
        memory_bytes=facts.totalGlobalMem,
    )


class Owned:
    """A CUDA object with an owner: freed by close(), or at the end of a with block."""

    def close(self) -> None:
        """Free it; calling this again does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Owned:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Stream(Owned):
    """A stream of its own, which does not wait for the default one."""

    def __init__(self) -> None:
        self.handle = int(
            _check(
                "cudaStreamCreateWithFlags",
                cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking),
            )
        )

    def synchronize(self) -> None:
        """Wait until everything put on the stream is done; DeviceError if any of it failed."""
        _check("cudaStreamSynchronize", cudart.cudaStreamSynchronize(self.handle))

    def close(self) -> None:
        handle, self.handle = self.handle, 0
        if handle:
            _check("cudaStreamDestroy", cudart.cudaStreamDestroy(handle))


class DeviceBuffer(Owned):
    """Memory on the GPU; `address` is what TensorRT wants to be given."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.address = int(_allocate("cudaMalloc", cudart.cudaMalloc(size_bytes), size_bytes))

    def close(self) -> None:
        address, self.address = self.address, 0
        if address:
            _check("cudaFree", cudart.cudaFree(address))


class PinnedBuffer(Owned):
    """Host memory that the GPU copies from and to directly.

    array: its bytes, (size_bytes,) uint8; empty once closed. Views taken earlier must not be used
    after close().
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        result = cudart.cudaMallocHost(size_bytes)
        self.address = int(_allocate("cudaMallocHost", result, size_bytes))
        memory = (ctypes.c_uint8 * size_bytes).from_address(self.address)
        self.array: NDArray[np.uint8] = np.ctypeslib.as_array(memory)

    def close(self) -> None:
        address, self.address = self.address, 0
        if address:
            self.array = np.empty(0, np.uint8)
            _check("cudaFreeHost", cudart.cudaFreeHost(address))


def copy_to_device(
    target: DeviceBuffer, source: PinnedBuffer, size_bytes: int, stream: Stream
) -> None:
    """Put the copy of the first `size_bytes` on the stream; returns before it is done."""
    kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
    _copy(target.address, source.address, size_bytes, kind, stream)


def copy_to_host(
    target: PinnedBuffer, source: DeviceBuffer, size_bytes: int, stream: Stream
) -> None:
    """Put the copy of the first `size_bytes` on the stream; returns before it is done."""
    kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
    _copy(target.address, source.address, size_bytes, kind, stream)


def _copy(target: int, source: int, size_bytes: int, kind: Any, stream: Stream) -> None:
    result = cudart.cudaMemcpyAsync(target, source, size_bytes, kind, stream.handle)
    _check("cudaMemcpyAsync", result)


def _allocate(call: str, result: tuple[Any, ...], size_bytes: int) -> Any:
    if result[0] == cudart.cudaError_t.cudaErrorMemoryAllocation:
        free, total = _check("cudaMemGetInfo", cudart.cudaMemGetInfo())
        raise DeviceError(
            f"{call} was asked for {size_bytes / 2**20:.1f} MiB and found no room: "
            f"{free / 2**20:.0f} of the GPU's {total / 2**20:.0f} MiB are free. "
            "Close other programs on the GPU, or build the engine for smaller frames"
        )
    return _check(call, result)


def _check(call: str, result: tuple[Any, ...]) -> Any:
    """The values behind the return code: none, one, or a tuple of several."""
    status, *values = result
    if status != cudart.cudaError_t.cudaSuccess:
        _, message = cudart.cudaGetErrorString(status)
        raise DeviceError(
            f"{call} failed: {message.decode()} ({status.name}). See what is missing: "
            "refinenet doctor"
        )
    return values[0] if len(values) == 1 else tuple(values)
