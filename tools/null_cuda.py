"""CUDA and TensorRT that do nothing, to see what Python alone costs.

Below runtime/cuda and runtime/engine, in the place of cuda.bindings and of tensorrt: each
call returns success at once. Host memory is real, so that the copies of frame and mask into and out
of it stay; it is not pinned.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np

from runtime.cuda import cuda_python as cuda
from runtime.tensorrt_api import TensorRT

Shape = tuple[int, ...]
bindings: Any = cuda  # where cudart and driver are replaced
SUCCESS = (bindings.cudart.cudaError_t.cudaSuccess,)
HANDLE = (*SUCCESS, 0x100)
DONE = (
    *("StreamSynchronize", "StreamDestroy", "StreamWaitEvent", "StreamBeginCapture"),
    *("EventRecord", "EventDestroy", "GraphLaunch", "GraphDestroy", "GraphExecDestroy"),
    *("Free", "FreeHost", "MemcpyAsync"),
)
MADE = (
    *("StreamCreateWithFlags", "EventCreateWithFlags", "StreamEndCapture", "GraphInstantiate"),
    *("Malloc", "GetDeviceCount", "GetDevice", "DriverGetVersion"),
)


class NullRuntime:
    """cuda.bindings.runtime: what is missing here, such as its enumerations, is the real one's."""

    def __init__(self, real: Any) -> None:
        self._real, self._memory = real, list[Any]()
        for name in DONE:
            setattr(self, f"cuda{name}", lambda *_: SUCCESS)
        for name in MADE:
            setattr(self, f"cuda{name}", lambda *_: HANDLE)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def cudaHostAlloc(self, size: int, _: int) -> tuple[Any, int]:  # noqa: N802
        """Real memory, not pinned."""
        memory = ctypes.create_string_buffer(size)
        self._memory.append(memory)
        return (*SUCCESS, ctypes.addressof(memory))

    def cudaGetDeviceProperties(self, _: int) -> tuple[Any, Any]:  # noqa: N802
        """A GPU that says what it is."""
        facts = {"name": b"null CUDA", "major": 0, "minor": 0, "totalGlobalMem": 0, "integrated": 0}
        return (*SUCCESS, SimpleNamespace(**facts))


@contextmanager
def null_cuda() -> Iterator[None]:
    """runtime.cuda.cuda_python with null bindings, until the block ends."""
    driver = SimpleNamespace(
        cuInit=lambda _: SUCCESS,
        cuDeviceGet=lambda _: HANDLE,
        cuDevicePrimaryCtxRetain=lambda _: HANDLE,
        cuDevicePrimaryCtxRelease=lambda _: SUCCESS,
        cuCtxPushCurrent=lambda _: SUCCESS,
        cuCtxPopCurrent=lambda: HANDLE,
    )
    real = bindings.cudart, bindings.driver
    bindings.cudart, bindings.driver = NullRuntime(bindings.cudart), driver
    try:
        yield
    finally:
        bindings.cudart, bindings.driver = real


class _Mode(Enum):
    INPUT = 1
    OUTPUT = 2


class _Context:
    active_optimization_profile = 0

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def get_tensor_shape(self, name: str) -> Shape:
        return self._shape if name == "frame" else self._shape[:3]

    def set_device_memory(self, memory: int, size: int) -> None: ...

    def set_tensor_address(self, _name: str, _memory: int) -> bool:
        return True

    def set_input_shape(self, _name: str, _shape: Shape) -> bool:
        return True

    def execute_async_v3(self, _stream: int) -> bool:
        return True


class _Engine(_Context):
    num_io_tensors = 2
    device_memory_size_v2 = 256

    def get_tensor_name(self, index: int) -> str:
        return ("frame", "mask")[index]

    def get_tensor_mode(self, name: str) -> _Mode:
        return _Mode.INPUT if name == "frame" else _Mode.OUTPUT

    def get_tensor_dtype(self, _name: str) -> str:
        return "uint8"

    def create_execution_context(self, _strategy: object) -> _Context:
        return _Context(self._shape)


def null_tensorrt(shape: Shape) -> TensorRT:
    """A TensorRT that loads any file as an engine of this input shape, (N, H, W, 3)."""
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda _: _Engine(shape))
    module = SimpleNamespace(
        Runtime=lambda _: runtime,
        ILogger=_Logger,
        TensorIOMode=_Mode,
        DataType=SimpleNamespace(UINT8="uint8"),
        ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED=None),
        nptype=np.dtype,
    )
    return TensorRT("tensorrt", "null", module)


class _Logger:
    Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)
