"""The little of CUDA that the runtime needs, on cuda-python; its names stand in runtime.cuda.gpu.

CUDA's runtime API works in the thread's current context. Context makes that the device's primary
one, which PyTorch and TensorRT share, and puts back what the thread had before. Every return code
is checked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.cuda.gpu import Device, Owned, call_failed, out_of_memory
from runtime.errors import MissingPackage

try:
    from cuda.bindings import driver
    from cuda.bindings import runtime as cudart
except ModuleNotFoundError as error:
    raise MissingPackage("cuda-python", "cuda13", "CUDA (cuda12 for CUDA 12)") from error

TITLE = "cuda-python"
HAS_GRAPHS = True


def device_count() -> int:
    """How many GPUs CUDA sees; 0 without a driver. Raises nothing."""
    status, count = cudart.cudaGetDeviceCount()
    return int(count) if status == cudart.cudaError_t.cudaSuccess else 0


def current_device() -> Device:
    """The GPU that this thread uses; DeviceError if there is none."""
    _check("cudaGetDeviceCount", cudart.cudaGetDeviceCount())
    index = _check("cudaGetDevice", cudart.cudaGetDevice())
    facts = _check("cudaGetDeviceProperties", cudart.cudaGetDeviceProperties(index))
    version = _check("cudaDriverGetVersion", cudart.cudaDriverGetVersion())
    return Device(
        name=facts.name.decode(),
        compute_capability=f"sm_{facts.major}{facts.minor}",
        driver_cuda=f"{version // 1000}.{version % 1000 // 10}",
        memory_bytes=facts.totalGlobalMem,
        integrated=bool(facts.integrated),
        index=index,
    )


class Context:
    """The primary context of one device.

    `with context:` makes it current, in any thread, and afterwards what was current before.
    """

    def __init__(self, index: int | None = None) -> None:
        """index: of the device; by default the one that the thread uses now."""
        # Asked first: without a driver, the driver API below raises errors of its own.
        _check("cudaGetDeviceCount", cudart.cudaGetDeviceCount())
        if index is None:
            index = _check("cudaGetDevice", cudart.cudaGetDevice())
        _check("cuInit", driver.cuInit(0))
        self._device = _check("cuDeviceGet", driver.cuDeviceGet(index))
        self._handle = _check(
            "cuDevicePrimaryCtxRetain", driver.cuDevicePrimaryCtxRetain(self._device)
        )

    def __enter__(self) -> Context:
        _check("cuCtxPushCurrent", driver.cuCtxPushCurrent(self._handle))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _check("cuCtxPopCurrent", driver.cuCtxPopCurrent())

    def close(self) -> None:
        """Give it back; PyTorch or another engine may still hold it. Again, it does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            released = driver.cuDevicePrimaryCtxRelease(self._device)
            _check("cuDevicePrimaryCtxRelease", released)


class Stream(Owned):
    """A stream of its own, which does not wait for the default one."""

    def __init__(self) -> None:
        flags = cudart.cudaStreamNonBlocking
        stream = cudart.cudaStreamCreateWithFlags(flags)
        self.handle = int(_check("cudaStreamCreateWithFlags", stream))

    def synchronize(self) -> None:
        """Wait until everything put on the stream is done; DeviceError if any of it failed."""
        _check("cudaStreamSynchronize", cudart.cudaStreamSynchronize(self.handle))

    def wait(self, event: Event) -> None:
        """What follows on the stream waits for the event, as last recorded; the host does not."""
        _check("cudaStreamWaitEvent", cudart.cudaStreamWaitEvent(self.handle, event.handle, 0))

    def close(self) -> None:
        handle, self.handle = self.handle, 0
        if handle:
            _check("cudaStreamDestroy", cudart.cudaStreamDestroy(handle))


class Event(Owned):
    """A mark in a stream's order; it takes no time."""

    def __init__(self) -> None:
        event = cudart.cudaEventCreateWithFlags(cudart.cudaEventDisableTiming)
        self.handle = int(_check("cudaEventCreateWithFlags", event))

    def record(self, stream: Stream) -> None:
        """Mark what the stream holds now; an earlier mark is forgotten."""
        _check("cudaEventRecord", cudart.cudaEventRecord(self.handle, stream.handle))

    def close(self) -> None:
        handle, self.handle = self.handle, 0
        if handle:
            _check("cudaEventDestroy", cudart.cudaEventDestroy(handle))


class Graph(Owned):
    """Work captured from a stream, to be launched again at the cost of one call."""

    def __init__(self, stream: Stream, enqueue: Callable[[], None]) -> None:
        """Capture what `enqueue` puts on the stream, without running it.

        Raises DeviceError if it cannot be captured, and what `enqueue` raises; the stream is then
        out of capture again.
        """
        # Thread-local: other threads may go on allocating meanwhile.
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _check("cudaStreamBeginCapture", cudart.cudaStreamBeginCapture(stream.handle, mode))
        try:
            enqueue()
        except BaseException:
            status, graph = cudart.cudaStreamEndCapture(stream.handle)
            if status == cudart.cudaError_t.cudaSuccess:
                cudart.cudaGraphDestroy(graph)
            raise
        graph = _check("cudaStreamEndCapture", cudart.cudaStreamEndCapture(stream.handle))
        try:
            result = cudart.cudaGraphInstantiate(graph, 0)
            self._handle: Any = _check("cudaGraphInstantiate", result)
        finally:
            _check("cudaGraphDestroy", cudart.cudaGraphDestroy(graph))

    def launch(self, stream: Stream) -> None:
        """Put the captured work on the stream."""
        _check("cudaGraphLaunch", cudart.cudaGraphLaunch(self._handle, stream.handle))

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            _check("cudaGraphExecDestroy", cudart.cudaGraphExecDestroy(handle))


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
    device_address: where the GPU itself reads and writes it; 0 unless it is `mapped`.
    """

    def __init__(self, size_bytes: int, *, mapped: bool = False) -> None:
        self.size_bytes = size_bytes
        flags = cudart.cudaHostAllocMapped if mapped else cudart.cudaHostAllocDefault
        result = cudart.cudaHostAlloc(size_bytes, flags)
        self.address = int(_allocate("cudaHostAlloc", result, size_bytes))
        self.device_address = 0
        if mapped:
            pointer = cudart.cudaHostGetDevicePointer(self.address, 0)
            self.device_address = int(_check("cudaHostGetDevicePointer", pointer))
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


def copy_on_device(
    target: int, source: int, row_bytes: int, rows: int, pitch_bytes: int, stream: Stream
) -> None:
    """Put the copy of `rows`, which lie `pitch_bytes` apart in the source, on the stream.

    target, source: addresses that the GPU can reach; the rows become contiguous.
    """
    kind = cudart.cudaMemcpyKind.cudaMemcpyDefault
    result = cudart.cudaMemcpy2DAsync(
        target, row_bytes, source, pitch_bytes, row_bytes, rows, kind, stream.handle
    )
    _check("cudaMemcpy2DAsync", result)


def wait_for_producer(stream: Stream, producer: int) -> None:
    """What follows on the stream waits for what the foreign stream `producer` holds now.

    producer: a stream's handle; 1 is the legacy default stream, 2 the thread's own default.
    """
    with Event() as event:
        _check("cudaEventRecord", cudart.cudaEventRecord(event.handle, producer))
        stream.wait(event)


def _allocate(call: str, result: tuple[Any, ...], size_bytes: int) -> Any:
    if result[0] == cudart.cudaError_t.cudaErrorMemoryAllocation:
        cudart.cudaGetLastError()
        free, total = _check("cudaMemGetInfo", cudart.cudaMemGetInfo())
        raise out_of_memory(call, size_bytes, free, total)
    return _check(call, result)


def _check(call: str, result: tuple[Any, ...]) -> Any:
    """The values behind the return code: none, one, or a tuple of several."""
    status, *values = result
    if status:
        cudart.cudaGetLastError()  # or another library's next check would find this error
        raise call_failed(call, f"{_message(status)} ({status.name})")
    return values[0] if len(values) == 1 else tuple(values)


def _message(status: Any) -> str:
    """CUDA's own words: the runtime's and the driver's codes each have their own."""
    if isinstance(status, cudart.cudaError_t):
        return str(cudart.cudaGetErrorString(status)[1].decode())
    return str(driver.cuGetErrorString(status)[1].decode())
