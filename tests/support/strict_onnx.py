"""ONNX Runtime's CUDA provider on the strict GPU: the real session of the CPU, its real IO binding.

What is bound as "cuda" is the strict GPU's memory, read when the session runs: a frame whose
producer nobody waited for gives a wrong mask, as on a GPU, where ONNX Runtime has its own stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from numpy.typing import NDArray
from strict_gpu import Gpu, IllegalUse


@dataclass
class StrictOnnx:
    """An onnxruntime.InferenceSession; bound: the addresses on the GPU that it was given."""

    real: Any
    gpu: Gpu
    bound: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def io_binding(self) -> StrictBinding:
        return StrictBinding(self.real.io_binding(), self)

    def run_with_iobinding(self, binding: StrictBinding) -> None:
        self.real.run_with_iobinding(binding.real)


@dataclass
class StrictBinding:
    """An onnxruntime.IOBinding."""

    real: Any
    session: StrictOnnx
    memory: list[NDArray[Any]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def bind_input(
        self,
        name: str,
        device_type: str,
        device_id: int,
        element_type: Any,
        shape: Any,
        address: int,
    ) -> None:
        if device_type == "cuda":
            if address % 256 or device_id:
                raise IllegalUse(f"{address:#x} on GPU {device_id}: TensorRT wants 256 bytes")
            self.session.bound.append(address)
            self.memory.append(self.session.gpu.bytes_at(address, prod(shape), "device"))
            address = self.memory[-1].ctypes.data
        self.real.bind_input(name, "cpu", 0, element_type, shape, address)
