"""cuda.bindings on the strict GPU: the real names, signatures, types and error codes.

What the real modules do not have is an AttributeError, a wrong number of arguments a TypeError.
"""

# ruff: noqa: N802 - the functions and parameters have CUDA's names
from __future__ import annotations

import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

from strict_gpu import Gpu, IllegalUse, Operation
from strict_module import StrictModule


class Driver:
    """The few functions of the driver API."""

    def __init__(self, real: Any, gpu: Gpu) -> None:
        self._real, self._gpu, self._initialized = real, gpu, False
        self._done = real.CUresult.CUDA_SUCCESS

    def cuInit(self, flags: int) -> Any:
        self._initialized = flags == 0
        return (self._done,)

    def cuDeviceGet(self, ordinal: int) -> Any:
        if not self._initialized:
            raise IllegalUse("cuDeviceGet before cuInit")
        return (self._done, self._real.CUdevice(ordinal))

    def cuDevicePrimaryCtxRetain(self, _: Any) -> Any:
        if not self._initialized:
            raise IllegalUse("cuDevicePrimaryCtxRetain before cuInit")
        self._gpu.retained += 1
        return (self._done, self._real.CUcontext(0x77))

    def cuDevicePrimaryCtxRelease(self, _: Any) -> Any:
        if not self._gpu.retained:
            raise IllegalUse("the primary context was released more often than retained")
        self._gpu.retained -= 1
        return (self._done,)

    def cuCtxPushCurrent(self, context: Any) -> Any:
        if int(context) != 0x77 or not self._gpu.retained:
            raise IllegalUse("a context that is not retained")
        self._gpu.current.append("primary")
        return (self._done,)

    def cuCtxPopCurrent(self) -> Any:
        if not self._gpu.current:
            raise IllegalUse("cuCtxPopCurrent with no context")
        self._gpu.current.pop()
        return (self._done, self._real.CUcontext(0x77))

    def cuGetErrorString(self, error: Any) -> Any:
        return (self._done, f"simulated {error.name}".encode())


class Runtime:
    """The functions of the runtime API that runtime.cuda.cuda_python uses."""

    def __init__(self, real: Any, gpu: Gpu) -> None:
        self._real, self._gpu = real, gpu
        self._done = real.cudaError_t.cudaSuccess

    def cudaGetDeviceCount(self) -> Any:
        return (self._done, 1)

    def cudaGetDevice(self) -> Any:
        return (self._done, 0)

    def cudaGetDeviceProperties(self, _: int) -> Any:
        facts = SimpleNamespace(
            name=b"Strict GPU",
            major=8,
            minor=6,
            totalGlobalMem=8 * 2**30,
            integrated=int(self._gpu.integrated),
        )
        for name in vars(facts):
            getattr(self._real.cudaDeviceProp(), name)  # the real structure has it
        return (self._done, facts)

    def cudaDriverGetVersion(self) -> Any:
        return (self._done, 13000)

    def cudaGetErrorString(self, error: Any) -> Any:
        return (self._done, f"simulated {error.name}".encode())

    def cudaGetLastError(self) -> Any:
        return (self._done,)

    def cudaMemGetInfo(self) -> Any:
        return (self._done, self._gpu.free_bytes, 8 * 2**30)

    # Memory

    def cudaMalloc(self, size: int) -> Any:
        self._outside_of_capture("cudaMalloc")
        if size > self._gpu.free_bytes:
            return (self._real.cudaError_t.cudaErrorMemoryAllocation, None)
        self._gpu.free_bytes -= size
        return (self._done, self._gpu.allocate("device", size))

    def cudaFree(self, address: int) -> Any:
        self._outside_of_capture("cudaFree")
        self._gpu.free(address, "device")
        return (self._done,)

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        self._outside_of_capture("cudaHostAlloc")
        mapped = flags == self._real.cudaHostAllocMapped
        return (self._done, self._gpu.allocate("mapped" if mapped else "pinned", size))

    def cudaHostGetDevicePointer(self, address: int, flags: int) -> Any:
        if flags != 0:
            raise IllegalUse("cudaHostGetDevicePointer: flags must be 0")
        return (self._done, self._gpu.mapped_address(address))

    def cudaFreeHost(self, address: int) -> Any:
        self._gpu.free(address, "pinned", "mapped")
        return (self._done,)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Any, stream: int) -> Any:
        kinds = self._real.cudaMemcpyKind
        host, device = ("pinned", "mapped"), ("device",)
        ends = {
            kinds.cudaMemcpyHostToDevice: (device, host),
            kinds.cudaMemcpyDeviceToHost: (host, device),
        }
        self._gpu.queue(stream, self._gpu.copy(target, source, size, *ends[kind]))
        return (self._done,)

    def cudaMemcpy2DAsync(
        self, target: int, target_pitch: int, source: int, source_pitch: int,
        width: int, height: int, kind: Any, stream: int,
    ) -> Any:  # fmt: skip
        if target_pitch < width or source_pitch < width:
            raise IllegalUse("cudaMemcpy2DAsync: a pitch below the width")
        if kind != self._real.cudaMemcpyKind.cudaMemcpyDefault:
            raise IllegalUse("cudaMemcpy2DAsync: on a Jetson the target may be mapped host memory")
        anywhere = ("device", "mapped")
        for row in range(height):
            there, here = target + row * target_pitch, source + row * source_pitch
            self._gpu.queue(stream, self._gpu.copy(there, here, width, anywhere, anywhere))
        return (self._done,)

    # Streams, events

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        if flags != self._real.cudaStreamNonBlocking:
            raise IllegalUse("a stream that waits for the default stream")
        handle = self._gpu.new_handle()
        self._gpu.streams[handle] = deque()
        return (self._done, self._real.cudaStream_t(handle))

    def cudaStreamSynchronize(self, stream: int) -> Any:
        self._gpu.finish(stream)
        return (self._done,)

    def cudaStreamDestroy(self, stream: int) -> Any:
        self._gpu.finish(stream)
        del self._gpu.streams[stream]
        return (self._done,)

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> Any:
        if flags != 0:
            raise IllegalUse("cudaStreamWaitEvent: an external event")
        self._gpu.wait(stream, event)
        return (self._done,)

    def cudaEventCreateWithFlags(self, _: int) -> Any:
        handle = self._gpu.new_handle()
        self._gpu.events[handle] = None
        return (self._done, self._real.cudaEvent_t(handle))

    def cudaEventRecord(self, event: int, stream: int) -> Any:
        self._gpu.record(event, stream)
        return (self._done,)

    def cudaEventDestroy(self, event: int) -> Any:
        if self._gpu.events.pop(event, self) is self:
            raise IllegalUse("an event was destroyed twice")
        return (self._done,)

    # Graphs

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> Any:
        if mode != self._real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal:
            raise IllegalUse("a capture that forbids other threads to allocate, or allows all")
        if stream not in self._gpu.streams or stream in self._gpu.captures:
            raise IllegalUse("a capture of a stream that is destroyed or being captured")
        self._gpu.captures[stream] = []
        self._gpu.captured_by[stream] = threading.get_ident()
        return (self._done,)

    def cudaStreamEndCapture(self, stream: int) -> Any:
        if stream not in self._gpu.captures:
            raise IllegalUse("the end of a capture that was never begun")
        del self._gpu.captured_by[stream]
        handle = self._gpu.new_handle()
        self._gpu.graphs[handle] = self._gpu.captures.pop(stream)
        return (self._done, self._real.cudaGraph_t(handle))

    def cudaGraphInstantiate(self, graph: Any, _: int) -> Any:
        handle = self._gpu.new_handle()
        self._gpu.executables[handle] = list(self._existing(self._gpu.graphs, graph))
        return (self._done, self._real.cudaGraphExec_t(handle))

    def cudaGraphLaunch(self, executable: Any, stream: int) -> Any:
        for operation in self._existing(self._gpu.executables, executable):
            self._gpu.queue(stream, Operation(operation.run))
        self._gpu.launched += 1
        return (self._done,)

    def cudaGraphExecDestroy(self, executable: Any) -> Any:
        self._existing(self._gpu.executables, executable)
        del self._gpu.executables[int(executable)]
        return (self._done,)

    def cudaGraphDestroy(self, graph: Any) -> Any:
        self._existing(self._gpu.graphs, graph)
        del self._gpu.graphs[int(graph)]
        return (self._done,)

    def _existing(self, graphs: dict[int, list[Operation]], handle: Any) -> list[Operation]:
        if int(handle) not in graphs:
            raise IllegalUse("a graph that does not exist: never instantiated, or destroyed")
        return graphs[int(handle)]

    def _outside_of_capture(self, call: str) -> None:
        # A thread-local capture: what other threads do meanwhile is their own affair.
        if threading.get_ident() in self._gpu.captured_by.values():
            raise IllegalUse(f"{call} during a capture")


def strict_bindings(
    gpu: Gpu, driver_api: type[Driver] = Driver
) -> tuple[StrictModule, StrictModule]:
    """cuda.bindings.runtime and cuda.bindings.driver on this GPU."""
    from cuda.bindings import driver, runtime

    return (
        StrictModule(runtime, Runtime(runtime, gpu), gpu),
        StrictModule(driver, driver_api(driver, gpu), gpu),
    )
