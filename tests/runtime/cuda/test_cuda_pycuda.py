"""PyCUDA behind the same face as cuda-python, in the application's context or the primary one.

PyCUDA needs the CUDA toolkit to be built, so here its documented API stands for it; on a machine
that has it, test_on_gpu.py uses the real one.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gpu_arrays import ArrayInterface, on_gpu
from numpy.typing import NDArray
from strict_gpu import LEGACY, Gpu, Operation
from strict_onnx import StrictOnnx
from strict_pycuda import strict_pycuda
from strict_tensorrt import EngineFile, StrictTensorRT
from tiny_models import CARD, brightest_channel

from runtime import Segmenter
from runtime.cuda import gpu
from runtime.engine.engine import Engine
from runtime.engine.loaded_engine import EngineOptions
from runtime.errors import DeviceError, InputError, MissingPackage
from runtime.onnx.providers import create_session
from runtime.onnx.session import OnnxSession
from runtime.tensorrt_api import gpu_present

FREE = EngineFile((-1, -1, -1, 3), (((1, 4, 4, 3), (1, 12, 16, 3)),))
Opener = Callable[..., Segmenter]


@pytest.fixture(params=[None, 1], ids=["late", "seed-1"])
def device(request: pytest.FixtureRequest) -> Gpu:
    return Gpu(request.param)


@pytest.fixture(params=[True, False], ids=["own-context", "no-context"])
def pycuda(
    request: pytest.FixtureRequest, device: Gpu, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """runtime.cuda.cuda_pycuda on the strict GPU; at the end nothing is left on it."""
    package, driver = strict_pycuda(device, owns_context=request.param)
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    monkeypatch.delitem(sys.modules, "runtime.cuda.cuda_pycuda", raising=False)
    monkeypatch.setattr(gpu, "_CHOSEN", [])
    before = list(device.current)
    yield importlib.import_module("runtime.cuda.cuda_pycuda")
    sys.modules.pop("runtime.cuda.cuda_pycuda")
    assert device.current == before
    assert not any(device.alive().values()), device.alive()


@pytest.fixture
def opened(pycuda: ModuleType, device: Gpu, shared: Path, tmp_path: Path) -> Opener:
    del pycuda

    def open_segmenter(**options: Any) -> Segmenter:
        path = tmp_path / "street.engine"
        path.write_bytes(b"stands for an engine")
        api = shared / "reference/tensorrt-api/10.3.0.json"
        trt = StrictTensorRT(api, device, FREE).trt
        return Segmenter(Engine(path, CARD, trt, EngineOptions(cuda="pycuda", **options)))

    return open_segmenter


def noise(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("mapped", [False, True])
def test_frames_become_masks(opened: Opener, mapped: bool) -> None:
    with opened(mapped_memory=mapped) as segmenter:
        assert segmenter.description == "TensorRT 10.3.0, Strict GPU, through PyCUDA"
        frames = [noise(6, 8, 3, seed=seed) for seed in range(6)]
        for mask, frame in zip(segmenter.stream(frames), frames, strict=True):
            np.testing.assert_array_equal(mask, brightest_channel(frame))
        other = noise(12, 5, 3)
        np.testing.assert_array_equal(segmenter(other), brightest_channel(other))


def test_a_frame_on_the_gpu_is_taken(opened: Opener, device: Gpu) -> None:
    frame = noise(6, 8, 3)
    with opened() as segmenter:
        array = ArrayInterface(on_gpu(device, frame), frame.shape, stream=1)
        np.testing.assert_array_equal(segmenter(array), brightest_channel(frame))
        device.blocks[array.__cuda_array_interface__["data"][0]].freed = True


@pytest.mark.parametrize("padding", [0, 4])
def test_onnx_runtime_waits_for_the_producer_through_pycuda(
    pycuda: ModuleType, device: Gpu, model: Path, padding: int
) -> None:
    assert gpu.choose("pycuda") is pycuda
    padded = noise(6, 8 + padding, 3)
    address = on_gpu(device, np.zeros_like(padded))

    def produce() -> None:
        device.blocks[address].array[:] = padded.ravel()

    device.queue(LEGACY, Operation(produce))
    strides = ((8 + padding) * 3, 3, 1)
    array = ArrayInterface(address, (6, 8, 3), stream=LEGACY, strides=strides)
    strict = StrictOnnx(create_session(model, "cpu", 1), device)
    with Segmenter(OnnxSession(model, CARD, "cuda", strict)) as segmenter:
        np.testing.assert_array_equal(segmenter(array), brightest_channel(padded[:, :8]))
    device.blocks[address].freed = True


def test_a_graph_cannot_be_demanded(opened: Opener) -> None:
    with pytest.raises(InputError, match="PyCUDA has no CUDA graphs"):
        opened(cuda_graph=True)


def test_out_of_memory_says_what_is_free(opened: Opener, device: Gpu) -> None:
    device.free_bytes = 2**20
    with pytest.raises(DeviceError, match=r"cuMemAlloc was asked for 2\.0 MiB .* 1 of the GPU's"):
        opened()


def test_an_error_names_the_call(opened: Opener, device: Gpu) -> None:
    with opened() as segmenter:
        device.failing["memcpy_htod_async"] = 0
        with pytest.raises(DeviceError, match="cuMemcpyHtoDAsync failed: memcpy_htod_async failed"):
            segmenter(noise(6, 8, 3))


def test_one_implementation_per_process(opened: Opener) -> None:
    with opened(), pytest.raises(InputError, match="already uses CUDA through pycuda"):
        gpu.choose("cuda-python")
    assert gpu.choose().TITLE == "PyCUDA"


def test_an_unknown_implementation_is_refused() -> None:
    with pytest.raises(InputError, match="'cupy' is unknown; expected one of cuda-python, pycuda"):
        gpu.choose("cupy")


def test_pycuda_serves_where_it_is_the_only_one(
    pycuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda name: name == "pycuda" or None)
    assert gpu.current_device().name == "Strict GPU"
    assert gpu.device_count() == 1
    assert gpu.choose() is pycuda


def test_without_any_implementation_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_CHOSEN", [])
    monkeypatch.setattr(gpu, "find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match=r"pip install '.*\[cuda13\]'"):
        gpu.choose()


def test_pycuda_that_is_missing_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.delitem(sys.modules, "runtime.cuda.cuda_pycuda", raising=False)
    monkeypatch.setattr(gpu, "_CHOSEN", [])
    with pytest.raises(MissingPackage, match=r"pip install '.*\[pycuda\]'"):
        gpu.choose("pycuda")


def test_a_missing_driver_library_is_a_device_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda/__init__.py").touch()
    program = "raise ImportError('libcuda.so.1: cannot open shared object file')"
    (tmp_path / "pycuda/driver.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("pycuda", "pycuda.driver", "runtime.cuda.cuda_pycuda"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(gpu, "_CHOSEN", [])
    with pytest.raises(DeviceError, match=r"libcuda\.so\.1"):
        gpu.choose("pycuda")
    monkeypatch.setattr(gpu, "installed", lambda: ["pycuda"])
    assert not gpu_present()


def test_both_implementations_have_the_same_names_and_parameters(pycuda: ModuleType) -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    from runtime.cuda import cuda_python as cuda

    # PyCUDA has no graphs: HAS_GRAPHS says so.
    shared_face = {name: it for name, it in face(cuda).items() if not name.startswith("Graph")}
    assert shared_face == face(pycuda)
    assert {"Context", "Stream", "Event", "copy_on_device"} <= shared_face.keys()


def face(module: ModuleType) -> dict[str, str]:
    """Every public function and method of the module itself, with its parameters."""
    found = {}
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        found[name] = str(inspect.signature(thing))
        if isinstance(thing, type):
            methods = inspect.getmembers(thing, inspect.isfunction)
            found |= {f"{name}.{key}": str(inspect.signature(value)) for key, value in methods}
    return found
