"""PyCUDA on the strict GPU, as doc/driver.rst of PyCUDA documents it.

Every name and parameter here stands in that document, and Context.get_current and Stream.handle in
its bindings; what does not is an AttributeError or a TypeError. PyCUDA raises its errors.
"""

# ruff: noqa: ARG001, ARG002 - the parameters have the names of the document
from __future__ import annotations

from collections import deque
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from strict_gpu import Gpu, IllegalUse

ANYWHERE = ("device", "mapped")
HOST = ("pinned", "mapped")


class Error(Exception):
    """pycuda.driver.Error"""


class MemoryError(Error):
    """pycuda.driver.MemoryError"""


class LogicError(Error):
    """pycuda.driver.LogicError"""


def strict_pycuda(gpu: Gpu, *, owns_context: bool) -> tuple[ModuleType, ModuleType]:
    """pycuda and pycuda.driver. owns_context: the application has made a context of its own."""
    state = SimpleNamespace(initialized=False)

    def enter(call: str) -> None:
        gpu.drift()
        gpu.need_context(call)
        if gpu.fails(call):
            kind = MemoryError if call in ("mem_alloc", "pagelocked_empty") else LogicError
            raise kind(f"{call} failed: simulated")

    class Context:
        def __init__(self, name: str) -> None:
            self._name = name

        @staticmethod
        def get_current() -> Context | None:
            return application if gpu.current and gpu.current[-1] == "application" else None

        @staticmethod
        def get_device() -> Device:
            return Device(0)

        @staticmethod
        def synchronize() -> None:
            enter("synchronize")
            for stream in gpu.streams:
                gpu.finish(stream)

        @staticmethod
        def pop() -> None:
            if not gpu.current:
                raise IllegalUse("Context.pop with no context")
            gpu.current.pop()

        def push(self) -> None:
            gpu.current.append(self._name)

        def detach(self) -> None:
            if self._name != "primary" or not gpu.retained:
                raise IllegalUse("detach of a context that was not retained here")
            gpu.retained -= 1

    class Device:
        def __init__(self, number: int) -> None:
            if not state.initialized:
                raise LogicError("cuDeviceGet failed: not initialized")

        @staticmethod
        def count() -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Device)

        def __hash__(self) -> int:
            return 0

        def name(self) -> str:
            return "Strict GPU"

        def compute_capability(self) -> tuple[int, int]:
            return (8, 6)

        def total_memory(self) -> int:
            return 8 * 2**30

        def get_attribute(self, attr: str) -> int:
            return int(gpu.integrated and attr == "INTEGRATED")

        def retain_primary_context(self) -> Context:
            gpu.retained += 1
            return Context("primary")

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            enter("Stream")
            if flags != 1:
                raise IllegalUse("a stream that waits for the default stream")
            self.handle = gpu.new_handle()
            gpu.streams[self.handle] = deque()

        def synchronize(self) -> None:
            enter("Stream.synchronize")
            gpu.finish(self.handle)

        def wait_for_event(self, evt: Event) -> None:
            enter("wait_for_event")
            gpu.wait(self.handle, evt._handle)

        def __del__(self) -> None:
            gpu.finish(self.handle)
            del gpu.streams[self.handle]

    class Event:
        def __init__(self, flags: int = 0) -> None:
            enter("Event")
            self._handle = gpu.new_handle()
            gpu.events[self._handle] = None

        def record(self, stream: Stream | None = None) -> Event:
            enter("Event.record")
            gpu.record(self._handle, _handle(stream))
            return self

        def __del__(self) -> None:
            del gpu.events[self._handle]

    class DeviceAllocation:
        def __init__(self, size: int) -> None:
            self._address = gpu.allocate("device", size)

        def __int__(self) -> int:
            return self._address

        def free(self) -> None:
            gpu.free(self._address, "device")

    def mem_alloc(size: int) -> DeviceAllocation:
        enter("mem_alloc")
        if size > gpu.free_bytes:
            raise MemoryError("cuMemAlloc failed: out of memory")
        return DeviceAllocation(size)

    class PagelockedArray(np.ndarray):  # type: ignore[type-arg]
        """numpy's `base` cannot be set from Python; PyCUDA sets it from C."""

        allocation: Any

        @property
        def base(self) -> Any:
            return self.allocation

    class PagelockedHostAllocation:
        def __init__(self, address: int) -> None:
            self._address = address

        def get_device_pointer(self) -> int:
            return gpu.mapped_address(self._address)

        def free(self) -> None:
            gpu.free(self._address, *HOST)

    def pagelocked_empty(
        shape: int, dtype: Any, order: str = "C", mem_flags: int = 0
    ) -> NDArray[np.uint8]:
        enter("pagelocked_empty")
        address = gpu.allocate("mapped" if mem_flags == 2 else "pinned", shape)
        array = gpu.blocks[address].array.view(PagelockedArray)
        array.allocation = PagelockedHostAllocation(address)
        return array

    def memcpy_htod_async(dest: int, src: Any, stream: Stream | None = None) -> None:
        enter("memcpy_htod_async")
        here = np.asarray(src).ctypes.data
        gpu.queue(_handle(stream), gpu.copy(dest, here, src.nbytes, ("device",), HOST))

    def memcpy_dtoh_async(dest: Any, src: int, stream: Stream | None = None) -> None:
        enter("memcpy_dtoh_async")
        there = np.asarray(dest).ctypes.data
        gpu.queue(_handle(stream), gpu.copy(there, src, dest.nbytes, HOST, ("device",)))

    class Memcpy2D:
        __slots__ = ("_ends", "dst_pitch", "height", "src_pitch", "width_in_bytes")

        def __init__(self) -> None:
            self._ends: dict[str, int] = {}

        def set_src_device(self, devptr: int) -> None:
            self._ends["source"] = devptr

        def set_dst_device(self, devptr: int) -> None:
            self._ends["target"] = devptr

        def __call__(self, stream: Stream) -> None:
            enter("Memcpy2D")
            for row in range(self.height):
                there = self._ends["target"] + row * self.dst_pitch
                here = self._ends["source"] + row * self.src_pitch
                copy = gpu.copy(there, here, self.width_in_bytes, ANYWHERE, ANYWHERE)
                gpu.queue(_handle(stream), copy)

    def _handle(stream: Stream | None) -> int:
        if stream is None:
            raise IllegalUse("work for the default stream")
        return stream.handle

    def init(flags: int = 0) -> None:
        state.initialized = True

    application = Context("application")
    if owns_context:
        gpu.current.append("application")
    driver = ModuleType("pycuda.driver")
    driver.__dict__.update(
        Error=Error, MemoryError=MemoryError, LogicError=LogicError, Context=Context, Device=Device,
        Stream=Stream, Event=Event, mem_alloc=mem_alloc, pagelocked_empty=pagelocked_empty,
        memcpy_htod_async=memcpy_htod_async, memcpy_dtoh_async=memcpy_dtoh_async,
        Memcpy2D=Memcpy2D, init=init, get_driver_version=lambda: 13000,
        mem_get_info=lambda: (gpu.free_bytes, 8 * 2**30),
        event_flags=SimpleNamespace(DEFAULT=0, BLOCKING_SYNC=1, DISABLE_TIMING=2),
        host_alloc_flags=SimpleNamespace(PORTABLE=1, DEVICEMAP=2, WRITECOMBINED=4),
        device_attribute=SimpleNamespace(INTEGRATED="INTEGRATED"),
    )  # fmt: skip
    package = ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    return package, driver
