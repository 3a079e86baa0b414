"""CUDA as the runtime sees it: what its two implementations share, and the choice between them.

An implementation is a module of this folder, cuda_python or cuda_pycuda, with the names

    Context                       the context that all of it works in; `with context:` enters it
    Stream, Event                 work in order, a mark in that order
    Graph                         work recorded once, where HAS_GRAPHS
    DeviceBuffer, PinnedBuffer    memory on the GPU; host memory that the GPU reads and writes
    copy_to_device, copy_to_host, copy_on_device, wait_for_producer
    current_device, device_count, HAS_GRAPHS, TITLE

A process uses one of them: objects of the two cannot be mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType, ModuleType, TracebackType
from typing import TypeVar

from runtime.errors import DeviceError, InputError, MissingPackage

IMPLEMENTATIONS = MappingProxyType(
    {"cuda-python": "runtime.cuda.cuda_python", "pycuda": "runtime.cuda.cuda_pycuda"}
)
PACKAGES = MappingProxyType({"cuda-python": "cuda.bindings", "pycuda": "pycuda"})
Self = TypeVar("Self", bound="Owned")  # typing.Self is of Python 3.11
_CHOSEN: list[str] = []  # of this process: one name at most


@dataclass(frozen=True)
class Device:
    """A GPU as CUDA describes it.

    compute_capability: such as sm_86.
    driver_cuda: the newest CUDA version that the driver serves, such as 13.0.
    integrated: it shares the host's memory, as on a Jetson.
    index: its number among the GPUs that CUDA shows this process.
    """

    name: str
    compute_capability: str
    driver_cuda: str
    memory_bytes: int
    integrated: bool
    index: int = 0


class Owned:
    """A CUDA object with an owner: freed by close(), or at the end of a with block."""

    def close(self) -> None:
        """Free it; calling this again does nothing."""
        raise NotImplementedError

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def choose(name: str | None = None) -> ModuleType:
    """The implementation of CUDA that this process uses from now on.

    name: cuda-python or pycuda; by default the one already in use, else cuda-python where it is
    installed, else pycuda. An application with a PyCUDA context of its own says pycuda.

    Raises InputError for another name, or if the process already uses the other one;
    MissingPackage if it is not installed.
    """
    if name is not None and name not in IMPLEMENTATIONS:
        expected = ", ".join(IMPLEMENTATIONS)
        raise InputError(f"CUDA implementation '{name}' is unknown; expected one of {expected}")
    if _CHOSEN and name not in (None, _CHOSEN[0]):
        raise InputError(
            f"this process already uses CUDA through {_CHOSEN[0]}; {name} cannot join it. "
            "Open every engine with the same one"
        )
    wanted = name or _usual()
    module = import_module(IMPLEMENTATIONS[wanted])
    _CHOSEN[:] = [wanted]
    return module


def current_device() -> Device:
    """The GPU that an engine would run on now; DeviceError if there is none, MissingPackage
    without an implementation of CUDA."""
    device: Device = import_module(IMPLEMENTATIONS[_usual()]).current_device()
    return device


def device_count() -> int:
    """How many GPUs CUDA sees; 0 without a driver. MissingPackage without an implementation."""
    return int(import_module(IMPLEMENTATIONS[_usual()]).device_count())


def installed() -> list[str]:
    """The implementations whose package is there, the usual one first; none is imported."""
    # The parent first: find_spec imports it, and other packages than ours lie in `cuda` too.
    return [
        name
        for name, package in PACKAGES.items()
        if find_spec(package.partition(".")[0]) is not None and find_spec(package) is not None
    ]


def _usual() -> str:
    if _CHOSEN:
        return _CHOSEN[0]
    if found := installed():
        return found[0]
    raise MissingPackage("cuda-python", "cuda13", "CUDA (cuda12 for CUDA 12)")


def out_of_memory(call: str, size_bytes: int, free_bytes: int, total_bytes: int) -> DeviceError:
    """How much was asked for, and what is free."""
    return DeviceError(
        f"{call} was asked for {size_bytes / 2**20:.1f} MiB and found no room: "
        f"{free_bytes / 2**20:.0f} of the GPU's {total_bytes / 2**20:.0f} MiB are free. "
        "Close other programs on the GPU, or build the engine for smaller frames"
    )


def call_failed(call: str, message: str) -> DeviceError:
    """The call, and CUDA's own message."""
    return DeviceError(f"{call} failed: {message}. See what is missing: refinenet doctor")
