"""Arrays in the strict GPU's memory, as other libraries offer theirs."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from strict_gpu import Gpu


class ArrayInterface:
    """An array of CuPy, Numba or an old PyTorch."""

    def __init__(self, address: int, shape: tuple[int, ...], **entries: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": shape,
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
            "strides": None,
            "stream": None,
            **entries,
        }


class DLPackArray:
    """A tensor of PyTorch: numpy's own capsule, with the device changed to a GPU's."""

    def __init__(self, array: NDArray[Any], address: int, device: int = 2, index: int = 0) -> None:
        self._array, self.address, self._device = array, address, (device, index)
        self.streams: list[int] = []
        self.threads: list[int] = []  # that asked

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, *, stream: int) -> Any:
        self.streams.append(stream)
        self.threads.append(threading.get_ident())
        capsule = self._array.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        # The first entry of a DLManagedTensor is the data's address.
        ctypes.c_void_p.from_address(pointer(capsule, b"dltensor")).value = self.address
        return capsule


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def on_gpu(device: Gpu, content: NDArray[np.uint8]) -> int:
    """The content in the strict GPU's memory: its address."""
    address = device.allocate("device", content.size)
    device.blocks[address].array[:] = content.ravel()
    return address
