"""The stand-in network's kernels: compiled with NVRTC, loaded and launched by cuda-bindings."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cuda.bindings import driver, nvrtc

SOURCE = Path(__file__).with_name("kernels.cu")
NAMES = ("poison_output", "spin", "stream_through", "brightest", "deliver")
THREADS = 256  # in a block
BLOCKS_PER_MULTIPROCESSOR = 8  # 2048 threads, as many as a multiprocessor holds
VECTOR_BYTES = 16  # of uint4
LEGACY_STREAM = 1  # CUDA's default stream, by its own handle
POINTER, SIZE, INDEX = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32


@dataclass(frozen=True)
class Control:
    """What the kernels read from the GPU's memory each time that they run.

    delay_us: how long the GPU spins before the computation, in microseconds.
    hold_us: how long the masks then lie in the scratch memory.
    stream_bytes: how much of the scratch memory is read and written, over and over if need be.
    poison: what every byte of the output is until its mask is there.
    """

    delay_us: float = 0
    hold_us: float = 0
    stream_bytes: int = 0
    poison: int = 0xEE

    def packed(self) -> bytes:
        """As `struct Control` of kernels.cu."""
        delays = round(self.delay_us * 1000), round(self.hold_us * 1000)
        return struct.pack("=QQQII", *delays, self.stream_bytes, self.poison, 0)


class KernelError(RuntimeError):
    """A call of CUDA or NVRTC failed."""


def checked(result: tuple[Any, ...]) -> Any:
    """The values behind the return code: none, one, or a tuple of several."""
    status, *values = result
    if int(status):
        raise KernelError(status.name)
    return values[0] if len(values) == 1 else tuple(values)


@cache
def compiled(architecture: str, source: bytes | None = None) -> bytes:
    """The machine code, a CUBIN, for a GPU such as sm_90; KernelError with NVRTC's words.

    A CUBIN, not PTX: a driver that is older than NVRTC takes it.
    source: instead of kernels.cu.
    """
    code = SOURCE.read_bytes() if source is None else source
    program = checked(nvrtc.nvrtcCreateProgram(code, SOURCE.name.encode(), 0, [], []))
    try:
        option = f"--gpu-architecture={architecture}".encode()
        (status,) = nvrtc.nvrtcCompileProgram(program, 1, [option])
        if int(status):
            log = bytes(checked(nvrtc.nvrtcGetProgramLogSize(program)))
            checked(nvrtc.nvrtcGetProgramLog(program, log))
            raise KernelError(f"{architecture}: {log.rstrip(bytes(1)).decode()}")
        cubin = bytes(checked(nvrtc.nvrtcGetCUBINSize(program)))
        checked(nvrtc.nvrtcGetCUBIN(program, cubin))  # NVRTC writes into these bytes
        return cubin
    finally:
        checked(nvrtc.nvrtcDestroyProgram(program))


class Kernels:
    """The kernels, loaded into the CUDA context that is current now."""

    def __init__(self) -> None:
        attributes = driver.CUdevice_attribute
        major = _of_this_gpu(attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
        minor = _of_this_gpu(attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
        multiprocessors = _of_this_gpu(attributes.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
        self._blocks = BLOCKS_PER_MULTIPROCESSOR * multiprocessors
        self._module: Any = checked(driver.cuModuleLoadData(compiled(f"sm_{major}{minor}")))
        self._functions = {}
        for name in NAMES:
            function = checked(driver.cuModuleGetFunction(self._module, name.encode()))
            # CUDA loads a kernel at its first launch otherwise, which breaks a capture.
            checked(driver.cuFuncLoad(function))
            self._functions[name] = function
        self._control, size_bytes = checked(driver.cuModuleGetGlobal(self._module, b"control"))
        if size_bytes != len(Control().packed()):
            raise KernelError(f"struct Control has {size_bytes} bytes")
        self.control = Control()
        self.set(self.control)

    def set(self, control: Control) -> None:
        """Change what the kernels read from now on, those in captured graphs too."""
        content = control.packed()
        checked(driver.cuMemcpyHtoD(self._control, content, len(content)))
        # The copy of a few bytes may return before they have arrived.
        checked(driver.cuStreamSynchronize(LEGACY_STREAM))
        self.control = control

    def network(
        self, stream: int, frames: int, masks: int, scratch: int, scratch_bytes: int, pixels: int
    ) -> None:
        """Put one execution on the stream.

        frames, masks, scratch: addresses. pixels: of all frames of the batch.
        """
        self._launch("poison_output", stream, (masks, pixels), (POINTER, SIZE))
        self.spin(stream, 0)
        vectors = scratch_bytes // VECTOR_BYTES
        self._launch("stream_through", stream, (scratch, vectors), (POINTER, SIZE))
        self._launch("brightest", stream, (frames, scratch, pixels), (POINTER, POINTER, SIZE))
        self.spin(stream, 1)
        self._launch("deliver", stream, (scratch, masks, pixels), (POINTER, POINTER, SIZE))

    def spin(self, stream: int, which: int) -> None:
        """Keep the stream busy: 0 for control.delay_us, 1 for control.hold_us."""
        self._launch("spin", stream, (which,), (INDEX,), blocks=1, threads=1)

    def _launch(
        self,
        name: str,
        stream: int,
        values: tuple[int, ...],
        kinds: tuple[type, ...],
        blocks: int | None = None,
        threads: int = THREADS,
    ) -> None:
        grid, block = (blocks or self._blocks, 1, 1), (threads, 1, 1)
        launched = driver.cuLaunchKernel(
            self._functions[name], *grid, *block, 0, stream, (values, kinds), 0
        )
        checked(launched)

    def unload(self) -> None:
        """Free everything, in the context that it was loaded into; again, it does nothing."""
        module, self._module = self._module, None
        if module is not None:
            checked(driver.cuModuleUnload(module))


def _of_this_gpu(attribute: Any) -> int:
    device = checked(driver.cuCtxGetDevice())
    return int(checked(driver.cuDeviceGetAttribute(attribute, device)))
