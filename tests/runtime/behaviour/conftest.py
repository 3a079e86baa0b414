"""Engines for the tests on a GPU: built by each TensorRT, or of the stand-in network."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from engine_building import built
from strict_gpu import Gpu
from tiny_models import write_model

from runtime import tensorrt_api
from runtime.cuda import gpu

Build = Callable[..., Path]

SHAPE = (1, 360, 480, 3)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, shared: Path) -> Iterator[Any]:
    """The stand-in network under TensorRT's name, here and in the processes started from here."""
    del shared  # it has the names and signatures of TensorRT
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-python is not installed")
    from stand_in.network import PACKAGE, ROOT, SUPPORT

    paths = [str(path) for path in (PACKAGE, SUPPORT, ROOT)]
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*paths, *([before] if before else [])]))
    monkeypatch.syspath_prepend(PACKAGE)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    yield importlib.import_module("tensorrt").STAND_IN
    del sys.modules["tensorrt"]


@pytest.fixture
def rehearsed_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """The strict GPU, which works as late as CUDA allows."""
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-python is not installed")
    from stand_in.rehearsal import rehearsed

    with rehearsed(Gpu(), monkeypatch) as device:
        yield device


@pytest.fixture
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Builds an engine with the TensorRT that the test names: see gpu_builders.py."""
    builder = request.param
    if builder == "rehearsal":
        request.getfixturevalue("rehearsed_gpu")
    elif not tensorrt_api.gpu_present():
        pytest.skip("no GPU")
    if builder in ("stand-in", "rehearsal"):
        request.getfixturevalue("stand_in")
        return _stand_in_builder(tmp_path)
    if not tensorrt_api.is_installed(builder):
        pytest.skip(f"{builder} is not installed")
    if builder == "rtx":
        request.getfixturevalue("rtx_runs")

    def build_engine(
        shape: Any = SHAPE, profile: tuple[Any, ...] | None = None, *, convolved: bool = False
    ) -> Path:
        onnx_file = write_model(tmp_path / "toy.fp32.onnx", shape, convolved=convolved)
        return built(onnx_file, builder, profile)

    return build_engine


def _stand_in_builder(folder: Path) -> Build:
    from stand_in.network import write_engine

    def build_engine(
        shape: Any = SHAPE,
        profile: tuple[Any, ...] | None = None,
        *,
        convolved: bool = False,
        further: tuple[Any, ...] = (),
        scratch_bytes: int = 0,
    ) -> Path:
        """further: more profiles, the smallest and the largest shape of each."""
        write_model(folder / "toy.fp32.onnx", shape, convolved=convolved)
        profiles = (() if profile is None else ((profile[0], profile[-1]),)) + further
        return write_engine(
            folder / "toy.fp32.engine",
            shape,
            profiles,
            scratch_bytes=scratch_bytes,
            compute_capability=gpu.current_device().compute_capability,
        )

    return build_engine


@pytest.fixture
def cuda(build: Build) -> ModuleType:
    """The implementation of CUDA that engines use in this process."""
    del build
    return gpu.choose()


@pytest.fixture
def entered(cuda: ModuleType) -> Iterator[None]:
    """A CUDA context that is current in the test, and outlives the engines that it opens."""
    context = cuda.Context()
    with context:
        yield
    context.close()


@pytest.fixture
def free_bytes() -> Callable[[], int]:
    """How much of the GPU's memory is free; a CUDA context is current."""
    if not tensorrt_api.gpu_present():
        pytest.skip("no GPU")
    from cuda.bindings import driver

    return lambda: int(driver.cuMemGetInfo()[1])
