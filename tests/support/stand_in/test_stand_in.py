"""The stand-in network as far as it goes without a GPU: NVRTC compiles it, the bindings take its
arguments, its kernels compute the right masks on a CPU, and its rehearsal can fail."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-python is not installed")

from cuda.bindings import driver
from strict_gpu import Gpu, IllegalUse

from runtime.tensorrt_api import gpu_present
from stand_in import kernels
from stand_in.kernels import SOURCE, Control, KernelError, Kernels, compiled
from stand_in.network import engine_file, write_engine
from stand_in.rehearsal import rehearsed

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_120")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvrtc_compiles_every_kernel(architecture: str) -> None:
    cubin = compiled(architecture)
    assert cubin.startswith(b"\x7fELF")
    for name in (*kernels.NAMES, "control"):
        assert name.encode() in cubin


def test_a_planted_error_is_refused_with_its_line() -> None:
    code = SOURCE.read_bytes().replace(b"left -= pass;", b"left -= pass")
    line = code[: code.index(b"left -= pass")].count(b"\n") + 2
    with pytest.raises(KernelError, match=rf"sm_90: kernels\.cu\({line}\): error: expected a"):
        compiled("sm_90", code)


def test_a_gpu_that_nvrtc_does_not_know_is_refused() -> None:
    with pytest.raises(KernelError, match="invalid value for --gpu-architecture"):
        compiled("sm_12")


POINTERS = ((1, 2, 3), (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64))
FUNCTION, MODULE, EVENT = driver.CUfunction(5), driver.CUmodule(5), driver.CUevent(5)
CALLS: dict[str, tuple[Any, ...]] = {
    "cuCtxGetCurrent": (),
    "cuCtxGetDevice": (),
    "cuDeviceGetAttribute": (
        driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
        driver.CUdevice(0),
    ),
    "cuModuleLoadData": (b"\x7fELF",),
    "cuModuleGetFunction": (MODULE, b"spin"),
    "cuFuncLoad": (FUNCTION,),
    "cuModuleGetGlobal": (MODULE, b"control"),
    "cuModuleUnload": (MODULE,),
    "cuMemcpyHtoD": (driver.CUdeviceptr(5), b"12345678", 8),
    "cuStreamSynchronize": (1,),
    "cuStreamIsCapturing": (7,),
    "cuLaunchKernel": (FUNCTION, 1, 1, 1, 1, 1, 1, 0, 7, POINTERS, 0),
    "cuMemGetInfo": (),
    "cuEventCreate": (0,),
    "cuEventRecord": (EVENT, 7),
    "cuEventElapsedTime": (EVENT, EVENT),
    "cuEventDestroy": (EVENT,),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_bindings_take_the_arguments_and_miss_the_driver_alone(name: str) -> None:
    if gpu_present():
        pytest.skip("this machine has a driver, which would get handles that do not exist")
    with pytest.raises(Exception, match=r"libcuda\.so|NVIDIA driver library"):
        getattr(driver, name)(*CALLS[name])


def test_an_argument_of_a_wrong_type_is_found_before_the_driver_is() -> None:
    with pytest.raises(TypeError):
        driver.cuLaunchKernel(FUNCTION, *[1] * 6, 0, 7, ((1, "2"), POINTERS[1][:2]), 0)


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The very source of the kernels, compiled for the CPU and run by a single thread."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    folder = tmp_path_factory.mktemp("kernels")
    words = """
    #define __device__
    #define __global__
    struct uint4 { unsigned int x, y, z, w; };
    struct { unsigned int x; } blockIdx = {0}, threadIdx = {0}, blockDim = {1}, gridDim = {1};
    static unsigned long long ticks;
    """
    clock = 'asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(time));'
    source = SOURCE.read_text()
    assert clock in source
    program = words + source.replace(clock, "time = ticks += 10;")
    program += '\nextern "C" { Control* the_control() { return &control; }'
    program += " unsigned long long the_ticks() { return ticks; } }\n"
    (folder / "kernels.cpp").write_text(program)
    library = folder / "kernels.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, folder / "kernels.cpp"]
    subprocess.run(command, check=True, timeout=60)
    loaded = ctypes.CDLL(str(library))
    loaded.the_control.restype = ctypes.c_void_p
    loaded.the_ticks.restype = ctypes.c_uint64
    return loaded


def test_the_kernels_compute_what_numpy_computes(on_cpu: ctypes.CDLL) -> None:
    def address(array: Any) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    frame = np.random.default_rng(0).integers(0, 4, (37, 41, 3), np.uint8)  # with many ties
    pixels = ctypes.c_uint64(37 * 41)
    masks, scratch = np.zeros((37, 41), np.uint8), np.zeros(4096, np.uint8)
    packed = Control(delay_us=1, hold_us=2, stream_bytes=3 * 4096 - 16, poison=0xAB).packed()
    ctypes.memmove(on_cpu.the_control(), packed, len(packed))
    on_cpu.poison_output(address(masks), pixels)
    assert (masks == 0xAB).all()
    before = on_cpu.the_ticks()
    on_cpu.spin(0)
    between = on_cpu.the_ticks()
    on_cpu.spin(1)
    assert 1000 <= between - before < 1050
    assert 2000 <= on_cpu.the_ticks() - between < 2050
    on_cpu.stream_through(address(scratch), ctypes.c_uint64(4096 // 16))
    words = scratch.view(np.uint32).reshape(-1, 4)
    assert words[:-1, 0].tolist() == [1] * 255  # three times
    assert words[-1, 0] == 0  # twice
    assert not words[:, 1:].any()
    on_cpu.brightest(address(frame), address(scratch), pixels)
    on_cpu.deliver(address(scratch), address(masks), pixels)
    np.testing.assert_array_equal(masks, frame.argmax(2))


def test_control_is_laid_out_as_the_kernels_read_it(on_cpu: ctypes.CDLL) -> None:
    class Struct(ctypes.Structure):
        _fields_ = (
            ("delay_ns", ctypes.c_uint64 * 2),
            ("stream_bytes", ctypes.c_uint64),
            ("poison", ctypes.c_uint32),
            ("unused", ctypes.c_uint32),
        )

    packed = Control(delay_us=1.5, hold_us=2, stream_bytes=3, poison=4).packed()
    assert len(packed) == ctypes.sizeof(Struct)
    ctypes.memmove(on_cpu.the_control(), packed, len(packed))
    control = Struct.from_address(on_cpu.the_control())
    assert [*control.delay_ns, control.stream_bytes, control.poison] == [1500, 2000, 3, 4]


def test_an_engine_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    free, low, high = (None, None, None, 3), (1, 8, 8, 3), (2, 100, 100, 3)
    path = write_engine(tmp_path / "a.engine", free, ((low, high),), compute_capability="sm_90")
    file = engine_file(path.read_bytes())
    assert file.input_shape == (-1, -1, -1, 3)
    assert file.profiles == ((low, high),)
    assert file.scratch_bytes == 20224  # 2 x 100 x 100, in multiples of 256


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    with rehearsed(Gpu(), monkeypatch) as strict:
        strict.current.append("application")
        yield strict
        strict.current.clear()


MISTAKES: dict[str, Callable[[Kernels, int], None]] = {
    "brightest takes": lambda it, s: it._launch("brightest", s, (1, 2), POINTERS[1][:2]),
    "there is no delay 2": lambda it, s: it.spin(s, 2),
    "blocks of 2048": lambda it, s: it._launch("spin", s, (0,), (ctypes.c_uint32,), 1, 2048),
    "is not allocated": lambda it, s: it.network(s, 1, 2, 3, 16, 1),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_launch_that_is_wrong_fails_the_rehearsal(device: Gpu, message: str) -> None:
    stream = device.new_handle()
    device.streams[stream] = deque()
    loaded = Kernels()

    def run() -> None:
        MISTAKES[message](loaded, stream)
        kernels.driver.cuStreamSynchronize(stream)

    with pytest.raises(IllegalUse, match=message):
        run()
    loaded.unload()
    del device.streams[stream]


def test_kernels_that_are_never_unloaded_are_seen(device: Gpu) -> None:
    loaded = Kernels()
    assert device.alive()["blocks"] == 1
    loaded.unload()
    loaded.unload()
    assert device.alive()["blocks"] == 0
