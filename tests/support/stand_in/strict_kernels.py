"""Modules, launches and timing of CUDA's driver API on the strict GPU.

A kernel of kernels.cu runs here as the few lines of numpy that it stands for. A launch
whose arguments are not those of the source raises IllegalUse.
"""

# ruff: noqa: N802 - the functions have CUDA's names
from __future__ import annotations

import ctypes
import re
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from strict_cuda import Driver
from strict_gpu import Gpu, IllegalUse, Operation

from stand_in.kernels import SOURCE, Control

ARCHITECTURE = (8, 6)  # as the strict GPU says
MULTIPROCESSORS = 2
MOST_THREADS = 1024  # in a block
CTYPES = {"unsigned long long": ctypes.c_uint64, "unsigned int": ctypes.c_uint32}
CONTROL_BYTES = len(Control().packed())


def _signatures() -> dict[str, tuple[type, ...]]:
    """The type of every argument of every kernel, read off the source."""
    found = {}
    text = SOURCE.read_text()
    for name, inside in re.findall(r"__global__ void (\w+)\(([^)]*)\)", text):
        kinds = [" ".join(part.split()[:-1]) for part in inside.split(",")]
        found[name] = tuple(
            ctypes.c_void_p if kind.endswith("*") else CTYPES[kind] for kind in kinds
        )
    return found


class KernelDriver(Driver):
    """The driver API with what the stand-in network calls of it."""

    def __init__(self, real: Any, gpu: Gpu) -> None:
        super().__init__(real, gpu)
        self._signatures = _signatures()
        self._modules: dict[int, int] = {}  # handle: the address of its control
        self._functions: dict[int, tuple[str, int]] = {}  # handle: name, and module
        self._loaded: set[int] = set()
        self._times: dict[int, float | None] = {}

    # Modules

    def cuCtxGetCurrent(self) -> Any:
        return (self._done, self._real.CUcontext(0x77 if self._gpu.current else 0))

    def cuCtxGetDevice(self) -> Any:
        self._gpu.need_context("cuCtxGetDevice")
        return (self._done, self._real.CUdevice(0))

    def cuDeviceGetAttribute(self, attribute: Any, device: Any) -> Any:
        if int(device) != 0:
            raise IllegalUse("an attribute of a GPU that does not exist")
        names = self._real.CUdevice_attribute
        facts = {
            names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: ARCHITECTURE[0],
            names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: ARCHITECTURE[1],
            names.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: MULTIPROCESSORS,
        }
        return (self._done, facts[attribute])

    def cuModuleLoadData(self, image: bytes) -> Any:
        self._gpu.need_context("cuModuleLoadData")
        if not image.startswith(b"\x7fELF"):
            raise IllegalUse("an image that is no CUBIN")
        handle = self._gpu.new_handle()
        self._modules[handle] = self._gpu.allocate("device", CONTROL_BYTES)
        return (self._done, self._real.CUmodule(handle))

    def cuModuleGetFunction(self, module: Any, name: bytes) -> Any:
        if name.decode() not in self._signatures or int(module) not in self._modules:
            raise IllegalUse(f"no kernel {name.decode()} in this module")
        handle = self._gpu.new_handle()
        self._functions[handle] = (name.decode(), int(module))
        return (self._done, self._real.CUfunction(handle))

    def cuFuncLoad(self, function: Any) -> Any:
        self._loaded.add(int(function))
        return (self._done,)

    def cuModuleGetGlobal(self, module: Any, name: bytes) -> Any:
        if name != b"control":
            raise IllegalUse(f"no variable {name.decode()}")
        address = self._modules[int(module)]
        return (self._done, self._real.CUdeviceptr(address), CONTROL_BYTES)

    def cuModuleUnload(self, module: Any) -> Any:
        self._gpu.need_context("cuModuleUnload")
        self._gpu.free(self._modules.pop(int(module)), "device")
        return (self._done,)

    def cuMemcpyHtoD(self, target: Any, content: bytes, size: int) -> Any:
        self._gpu.bytes_at(int(target), size, "device")[:] = np.frombuffer(content, np.uint8)
        return (self._done,)

    def cuMemGetInfo(self) -> Any:
        return (self._done, self._gpu.free_bytes, 8 * 2**30)

    # Streams

    def cuStreamSynchronize(self, stream: Any) -> Any:
        self._gpu.finish(int(stream))
        return (self._done,)

    def cuStreamIsCapturing(self, stream: Any) -> Any:
        states = self._real.CUstreamCaptureStatus
        active = int(stream) in self._gpu.captures
        return (
            self._done,
            states.CU_STREAM_CAPTURE_STATUS_ACTIVE
            if active
            else states.CU_STREAM_CAPTURE_STATUS_NONE,
        )

    def cuLaunchKernel(
        self, function: Any, grid_x: int, grid_y: int, grid_z: int, block_x: int, block_y: int,
        block_z: int, shared_bytes: int, stream: Any, parameters: Any, extra: int,
    ) -> Any:  # fmt: skip
        self._gpu.need_context("cuLaunchKernel")
        name, module = self._functions[int(function)]
        values, kinds = parameters
        if kinds != self._signatures[name] or len(values) != len(kinds):
            raise IllegalUse(f"{name} takes {self._signatures[name]}, and was given {kinds}")
        if int(function) not in self._loaded:
            raise IllegalUse(f"{name} is loaded at its first launch, which may be a capture")
        threads = block_x * block_y * block_z
        if min(grid_x, grid_y, grid_z, threads) < 1 or threads > MOST_THREADS:
            raise IllegalUse(f"{name} in blocks of {threads} threads")
        if (shared_bytes, extra) != (0, 0):
            raise IllegalUse("shared memory, or extra arguments, that no kernel here takes")
        control = self._modules[module]
        self._gpu.queue(int(stream), Operation(self._work(name, control, *values)))
        return (self._done,)

    def _work(self, name: str, control: int, *values: int) -> Callable[[], None]:
        gpu, anywhere = self._gpu, ("device", "mapped")

        def poison_output(output: int, pixels: int) -> None:
            poison = struct.unpack("=QQQII", gpu.bytes_at(control, CONTROL_BYTES, "device"))[3]
            gpu.bytes_at(output, pixels, *anywhere)[:] = poison

        def spin(which: int) -> None:
            if which not in (0, 1):
                raise IllegalUse(f"there is no delay {which}")

        def stream_through(scratch: int, vectors: int) -> None:
            gpu.bytes_at(scratch, 16 * vectors, "device")

        def brightest(frame: int, scratch: int, pixels: int) -> None:
            channels = gpu.bytes_at(frame, 3 * pixels, *anywhere).reshape(-1, 3)
            gpu.bytes_at(scratch, pixels, "device")[:] = channels.argmax(1)

        def deliver(scratch: int, output: int, pixels: int) -> None:
            masks = gpu.bytes_at(scratch, pixels, "device")
            gpu.bytes_at(output, pixels, *anywhere)[:] = masks

        kernels = (poison_output, spin, stream_through, brightest, deliver)
        kernel = {each.__name__: each for each in kernels}[name]
        return lambda: kernel(*values)

    # Time

    def cuEventCreate(self, flags: int) -> Any:
        if flags != 0:
            raise IllegalUse("an event that takes no time")
        handle = self._gpu.new_handle()
        self._times[handle] = None
        return (self._done, self._real.CUevent(handle))

    def cuEventRecord(self, event: Any, stream: Any) -> Any:
        handle = int(event)
        if handle not in self._times:
            raise IllegalUse("an event that was destroyed")

        def reached() -> None:
            self._times[handle] = time.perf_counter()

        self._gpu.queue(int(stream), Operation(reached))
        return (self._done,)

    def cuEventElapsedTime(self, start: Any, end: Any) -> Any:
        began, ended = self._times[int(start)], self._times[int(end)]
        if began is None or ended is None:
            raise IllegalUse("the time of an event that was not reached")
        return (self._done, (ended - began) * 1e3)

    def cuEventDestroy(self, event: Any) -> Any:
        del self._times[int(event)]
        return (self._done,)
