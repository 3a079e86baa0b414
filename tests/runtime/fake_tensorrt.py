"""TensorRT and CUDA as far as runtime.engine uses them, in numpy.

They compute what tiny_models.brightest_channel says, and every call can be told to fail. They show
what the runtime does with an answer, not what a GPU answers: that is for the tests marked gpu.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.tensorrt_api import TensorRT

MEMORY: dict[int, NDArray[np.uint8]] = {}  # by address, host and device alike


class FakeBuffer:
    """Both kinds of memory; `alive` counts those not closed."""

    alive = 0

    def __init__(self, size_bytes: int) -> None:
        self.array = np.zeros(size_bytes, np.uint8)
        self.address = self.array.ctypes.data
        MEMORY[self.address] = self.array
        FakeBuffer.alive += 1

    def __enter__(self) -> FakeBuffer:
        return self

    def __exit__(self, *_: object) -> None:
        FakeBuffer.alive -= 1
        del MEMORY[self.address]


class FakeStream:
    handle = 1

    def synchronize(self) -> None: ...

    def __enter__(self) -> FakeStream:
        return self

    def __exit__(self, *_: object) -> None: ...


def copy(target: FakeBuffer, source: FakeBuffer, size_bytes: int, _: FakeStream) -> None:
    target.array[:size_bytes] = source.array[:size_bytes]


CUDA = SimpleNamespace(
    Stream=FakeStream,
    PinnedBuffer=FakeBuffer,
    DeviceBuffer=FakeBuffer,
    copy_to_device=copy,
    copy_to_host=copy,
    current_device=lambda: SimpleNamespace(name="Fake GPU", compute_capability="sm_86"),
)


class FakeContext:
    def __init__(self, failing: str) -> None:
        self._failing = failing
        self._addresses: dict[str, int] = {}
        self._shape: Sequence[int] = ()

    def set_input_shape(self, _: str, shape: Sequence[int]) -> bool:
        self._shape = tuple(shape)
        return self._failing != "set_input_shape"

    def get_tensor_shape(self, _: str) -> Sequence[int]:
        return self._shape[:3]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return self._failing != "set_tensor_address"

    def execute_async_v3(self, _: int) -> bool:
        size = int(np.prod(self._shape))
        frames = MEMORY[self._addresses["frame"]][:size].reshape(self._shape)
        masks = frames.argmax(3).astype(np.uint8).ravel()
        MEMORY[self._addresses["mask"]][: masks.size] = masks
        return self._failing != "execute_async_v3"


class FakeEngine:
    num_io_tensors = 2

    def __init__(self, shape: Sequence[int], largest: Sequence[int], failing: str) -> None:
        self._shape, self._largest, self._failing = shape, largest, failing

    def create_execution_context(self) -> FakeContext | None:
        return None if self._failing == "create_execution_context" else FakeContext(self._failing)

    def get_tensor_name(self, index: int) -> str:
        return ("frame", "mask")[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "frame" else "output"

    def get_tensor_dtype(self, _: str) -> str:
        return "uint8"

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        return self._shape if name == "frame" else self._shape[:3]

    def get_tensor_profile_shape(self, _: str, __: int) -> list[Sequence[int]]:
        return [(1, 8, 8, 3), self._largest, self._largest]


def fake_tensorrt(
    shape: Sequence[int], largest: Sequence[int] | None = None, failing: str = ""
) -> TensorRT:
    """A TensorRT that loads any file as an engine of this input shape, -1 where it is free."""

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, _: bytes) -> FakeEngine | None:
            if failing == "deserialize_cuda_engine":
                self._logger.log(1, "the magic tag\ndoes not match")
                return None
            return FakeEngine(shape, largest or shape, failing)

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

    module = SimpleNamespace(
        Runtime=Runtime,
        ILogger=ILogger,
        TensorIOMode=SimpleNamespace(INPUT="input"),
        DataType=SimpleNamespace(UINT8="uint8"),
        nptype=lambda name: np.dtype(name).type,
    )
    return TensorRT("tensorrt", "11.4.0", module)
