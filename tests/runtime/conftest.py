"""Real frames and a tiny real ONNX file for the runtime's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import write_model

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
