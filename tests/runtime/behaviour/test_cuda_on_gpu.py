"""CUDA's contexts and memory on a real GPU, through both implementations."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_builders import every_builder
from numpy.typing import NDArray

from runtime import Segmenter, tensorrt_api
from runtime.errors import DeviceError

Frame = NDArray[np.uint8]
Build = Callable[..., Path]


@every_builder
def test_the_current_context_is_left_as_it_was(build: Build, camvid: list[Frame]) -> None:
    from cuda.bindings import driver

    path = build()
    before = int(driver.cuCtxGetCurrent()[1])
    with Segmenter.open(path) as segmenter:
        segmenter(camvid[0])
        assert int(driver.cuCtxGetCurrent()[1]) == before
    assert int(driver.cuCtxGetCurrent()[1]) == before


PYCUDA = """
import sys, numpy as np
import pycuda.driver as driver
driver.init()
context = driver.Device(0).make_context() if sys.argv[2] == "own" else None
from runtime import Segmenter
from runtime.engine.loaded_engine import EngineOptions
noise = np.random.default_rng(0).integers(0, 256, (360, 480, 3), np.uint8)
frame = noise & 252 | np.uint8([2, 1, 0])  # untied
with Segmenter.open(sys.argv[1], options=EngineOptions(cuda="pycuda")) as segmenter:
    assert "PyCUDA" in segmenter.description
    for mask in segmenter.stream([frame] * 8):
        assert (mask == frame.argmax(2)).all()
assert driver.Context.get_current() == context
if context is not None:
    context.pop()
"""


@every_builder
@pytest.mark.parametrize("context", ["own", "none"])
def test_an_application_with_pycuda_gets_the_same_masks(build: Build, context: str) -> None:
    pytest.importorskip("pycuda.driver", reason="pycuda is not installed")
    command = [sys.executable, "-c", PYCUDA, str(build()), context]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(params=["runtime.cuda.cuda_python", "runtime.cuda.cuda_pycuda"])
def cuda_module(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each implementation that is installed, with its context entered."""
    if not tensorrt_api.gpu_present():
        pytest.skip("no GPU")
    package = "cuda.bindings" if request.param == "runtime.cuda.cuda_python" else "pycuda"
    pytest.importorskip(package, reason=f"{package} is not installed")
    module = importlib.import_module(request.param)
    context = module.Context()
    with context:
        yield module
    context.close()


@pytest.mark.gpu
def test_bytes_go_to_the_gpu_and_back(cuda_module: Any) -> None:
    cuda = cuda_module
    with (
        cuda.Stream() as stream,
        cuda.PinnedBuffer(256) as there,
        cuda.PinnedBuffer(256, mapped=True) as back,
        cuda.DeviceBuffer(256) as device,
        cuda.DeviceBuffer(256) as other,
    ):
        there.array[:] = range(256)
        cuda.copy_to_device(device, there, 256, stream)
        cuda.copy_on_device(other.address, device.address, 16, 16, 16, stream)
        cuda.copy_to_host(back, other, 256, stream)
        stream.synchronize()
        assert back.array.tolist() == list(range(256))
        back.array[:] = 0
        cuda.copy_on_device(back.device_address, device.address, 8, 16, 16, stream)
        stream.synchronize()
        rows = np.arange(256).reshape(16, 16)
        assert back.array[:128].tolist() == rows[:, :8].ravel().tolist()


def test_cuda_says_which_call_failed_and_why() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    if tensorrt_api.gpu_present():
        pytest.skip("this machine has a GPU: no call fails")
    from runtime.cuda import cuda_python as cuda

    with pytest.raises(DeviceError, match=r"cudaGetDeviceCount failed: .*\(cudaError\w+\)"):
        cuda.Context()
