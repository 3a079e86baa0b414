"""Real frames and a tiny real ONNX file for the runtime's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from simulated_gpu import simulated_gpu
from strict_gpu import Gpu
from strict_tensorrt import EngineFile, StrictTensorRT
from tiny_models import CARD, write_model

from runtime.engine.engine import Engine
from runtime.engine.loaded_engine import EngineOptions
from runtime.frames import read_frame
from runtime.segmenter import Segmenter


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout."""
    folder = Path(__file__).resolve().parents[3] / "shared"
    if not folder.is_dir():
        pytest.skip("the data in ../shared is not on this machine")
    return folder


@pytest.fixture
def samples(shared: Path) -> Path:
    return shared / "data/samples"


@pytest.fixture
def street(samples: Path) -> NDArray[np.uint8]:
    """(370, 1226, 3) uint8 BGR."""
    return read_frame(samples / "street_kitti_000099.jpg")


@pytest.fixture
def camvid(shared: Path) -> list[NDArray[np.uint8]]:
    """Six consecutive frames, each (360, 480, 3) uint8 BGR."""
    folder = shared / "data/camvid/images/val"
    return [read_frame(path) for path in sorted(folder.iterdir())[:6]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Takes frames of any size and any number."""
    return write_model(tmp_path / "toy.fp32.onnx")


@pytest.fixture
def segmenter(model: Path) -> Iterator[Segmenter]:
    with Segmenter.open(model) as opened:
        yield opened


@pytest.fixture(params=[None, 1, 2], ids=["late", "seed-1", "seed-2"])
def strict_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """A simulated GPU behind cuda.bindings; at the end nothing is left on it, and the thread's
    context is what it was."""
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    with simulated_gpu(Gpu(request.param), monkeypatch) as device:
        yield device


@pytest.fixture(params=["10.3.0", "10.8.0.43", "10.16.1.11", "11.4.0.106", "rtx-1.7.1.116"])
def release(request: pytest.FixtureRequest, shared: Path) -> Path:
    """The API of one TensorRT release."""
    return shared / "reference/tensorrt-api" / f"{request.param}.json"


@pytest.fixture
def strict_engine(strict_gpu: Gpu, tmp_path: Path) -> Callable[..., tuple[Engine, StrictTensorRT]]:
    """Opens an engine on the strict GPU, in one release of TensorRT."""

    def open_engine(
        api: Path, file: EngineFile, options: EngineOptions | None = None
    ) -> tuple[Engine, StrictTensorRT]:
        path = tmp_path / "street.fp16.engine"
        path.write_bytes(b"stands for an engine")
        strict = StrictTensorRT(api, strict_gpu, file)
        return Engine(path, CARD, strict.trt, options), strict

    return open_engine
