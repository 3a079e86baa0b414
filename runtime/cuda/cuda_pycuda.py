"""The little of CUDA that the runtime needs, on PyCUDA; its names stand in runtime.cuda.gpu.

For applications that own a PyCUDA context: everything happens in the context that is current when
an engine is opened. PyCUDA knows no CUDA graphs. It raises errors of its own instead of returning
codes; they leave this file as DeviceError.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from runtime.cuda.gpu import Device, Owned, call_failed, out_of_memory
from runtime.errors import DeviceError, MissingPackage

try:
    import pycuda.driver as pycuda
except ModuleNotFoundError as error:
    raise MissingPackage("pycuda", "pycuda", "CUDA through PyCUDA") from error
except ImportError as error:  # of libcuda, which comes with the driver
    raise DeviceError(f"PyCUDA is installed and cannot be loaded ({error})") from error

TITLE = "PyCUDA"
HAS_GRAPHS = False
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which PyCUDA passes on and has no name for


def device_count() -> int:
    """How many GPUs CUDA sees; 0 without a driver. Raises nothing."""
    try:
        pycuda.init()
        return int(pycuda.Device.count())
    except pycuda.Error:
        return 0


def current_device() -> Device:
    """The GPU of the current context, or else the first; DeviceError if there is none."""
    with _named("cuInit"):
        pycuda.init()
        owned = pycuda.Context.get_current() is not None
        device = pycuda.Context.get_device() if owned else pycuda.Device(0)
        major, minor = device.compute_capability()
        version = pycuda.get_driver_version()
        return Device(
            name=device.name(),
            compute_capability=f"sm_{major}{minor}",
            driver_cuda=f"{version // 1000}.{version % 1000 // 10}",
            memory_bytes=device.total_memory(),
            integrated=bool(device.get_attribute(pycuda.device_attribute.INTEGRATED)),
            index=[pycuda.Device(i) for i in range(pycuda.Device.count())].index(device),
        )


class Context:
    """The application's current context; where there is none, the primary one of a GPU.

    `with context:` makes it current, in any thread, and afterwards what was current before.
    """

    def __init__(self, index: int | None = None) -> None:
        """index: of that GPU; by default the first."""
        with _named("cuDevicePrimaryCtxRetain"):
            pycuda.init()
            current = pycuda.Context.get_current()
            self._retained = current is None
            self._context = current or pycuda.Device(index or 0).retain_primary_context()

    def __enter__(self) -> Context:
        with _named("cuCtxPushCurrent"):
            self._context.push()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _named("cuCtxPopCurrent"):
            pycuda.Context.pop()

    def close(self) -> None:
        """Give back what was retained; the application's own context stays as it is."""
        retained, self._retained = self._retained, False
        if retained:
            with _named("cuDevicePrimaryCtxRelease"):
                self._context.detach()


class Stream(Owned):
    """A stream of its own, which does not wait for the default one."""

    def __init__(self) -> None:
        with _named("cuStreamCreate"):
            self.queue: Any = pycuda.Stream(NON_BLOCKING)
        self.handle = int(self.queue.handle)

    def synchronize(self) -> None:
        """Wait until everything put on the stream is done; DeviceError if any of it failed."""
        with _named("cuStreamSynchronize"):
            self.queue.synchronize()

    def wait(self, event: Event) -> None:
        """What follows on the stream waits for the event, as last recorded; the host does not."""
        with _named("cuStreamWaitEvent"):
            self.queue.wait_for_event(event.mark)

    def close(self) -> None:
        self.queue, self.handle = None, 0  # PyCUDA frees it with the last reference


class Event(Owned):
    """A mark in a stream's order; it takes no time."""

    def __init__(self) -> None:
        with _named("cuEventCreate"):
            self.mark: Any = pycuda.Event(pycuda.event_flags.DISABLE_TIMING)

    def record(self, stream: Stream) -> None:
        """Mark what the stream holds now; an earlier mark is forgotten."""
        with _named("cuEventRecord"):
            self.mark.record(stream.queue)

    def close(self) -> None:
        self.mark = None


class DeviceBuffer(Owned):
    """Memory on the GPU; `address` is what TensorRT wants to be given."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        with _named("cuMemAlloc", size_bytes):
            self._allocation = pycuda.mem_alloc(size_bytes)
        self.address = int(self._allocation)

    def close(self) -> None:
        address, self.address = self.address, 0
        if address:
            with _named("cuMemFree"):
                self._allocation.free()


class PinnedBuffer(Owned):
    """Host memory that the GPU copies from and to directly.

    array: its bytes, (size_bytes,) uint8; empty once closed. Views taken earlier must not be used
    after close().
    device_address: where the GPU itself reads and writes it; 0 unless it is `mapped`.
    """

    def __init__(self, size_bytes: int, *, mapped: bool = False) -> None:
        self.size_bytes = size_bytes
        flags = int(pycuda.host_alloc_flags.DEVICEMAP) if mapped else 0
        with _named("cuMemHostAlloc", size_bytes):
            array = pycuda.pagelocked_empty(size_bytes, np.uint8, mem_flags=flags)
            self._allocation = array.base
            self.device_address = int(self._allocation.get_device_pointer()) if mapped else 0
        self.array: NDArray[np.uint8] = array
        self.address = int(array.ctypes.data)

    def close(self) -> None:
        address, self.address = self.address, 0
        if address:
            self.array = np.empty(0, np.uint8)
            with _named("cuMemFreeHost"):
                self._allocation.free()


def copy_to_device(
    target: DeviceBuffer, source: PinnedBuffer, size_bytes: int, stream: Stream
) -> None:
    """Put the copy of the first `size_bytes` on the stream; returns before it is done."""
    with _named("cuMemcpyHtoDAsync"):
        pycuda.memcpy_htod_async(target.address, source.array[:size_bytes], stream.queue)


def copy_to_host(
    target: PinnedBuffer, source: DeviceBuffer, size_bytes: int, stream: Stream
) -> None:
    """Put the copy of the first `size_bytes` on the stream; returns before it is done."""
    with _named("cuMemcpyDtoHAsync"):
        pycuda.memcpy_dtoh_async(target.array[:size_bytes], source.address, stream.queue)


def copy_on_device(
    target: int, source: int, row_bytes: int, rows: int, pitch_bytes: int, stream: Stream
) -> None:
    """Put the copy of `rows`, which lie `pitch_bytes` apart in the source, on the stream.

    target, source: addresses that the GPU can reach; the rows become contiguous.
    """
    with _named("cuMemcpy2DAsync"):
        copy = pycuda.Memcpy2D()
        copy.set_src_device(source)
        copy.set_dst_device(target)
        copy.src_pitch, copy.dst_pitch = pitch_bytes, row_bytes
        copy.width_in_bytes, copy.height = row_bytes, rows
        copy(stream.queue)


def wait_for_producer(stream: Stream, producer: int) -> None:
    """What follows on the stream waits for what the foreign stream `producer` holds now.

    PyCUDA cannot name a stream that it did not make, so this waits for the whole context.
    """
    del stream, producer
    with _named("cuCtxSynchronize"):
        pycuda.Context.synchronize()


@contextmanager
def _named(call: str, size_bytes: int = 0) -> Iterator[None]:
    """PyCUDA's error as ours, with the call's name."""
    try:
        yield
    except pycuda.Error as error:
        _raise(call, size_bytes, error)


def _raise(call: str, size_bytes: int, error: Exception) -> NoReturn:
    if size_bytes and isinstance(error, pycuda.MemoryError):
        raise out_of_memory(call, size_bytes, *pycuda.mem_get_info()) from error
    raise call_failed(call, " ".join(str(error).split())) from error
