"""One small export of the shipped weights, which the tests share, and real frames to give it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from export.to_engine import EngineOptions, to_engine
from export.to_onnx import OnnxOptions, to_onnx
from refinenet.__main__ import main
from refinenet.checkpoints.load import load_checkpoint, weights_path
from runtime.card import Card
from runtime.frames import list_images, read_frame
from runtime.resize import fit

WEIGHTS = "lw-mobilenetv2-camvid"
SIZE = (120, 160)  # 120 is no multiple of 32, the network's largest stride


@pytest.fixture(scope="session")
def weights() -> Path:
    return weights_path(WEIGHTS)


@pytest.fixture(scope="session")
def network(weights: Path) -> nn.Module:
    return load_checkpoint(weights)[0]


@pytest.fixture(scope="session")
def card(weights: Path) -> Card:
    """The card of the weights."""
    return load_checkpoint(weights)[1]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, photo: Path) -> Path:
    """street.fp32.onnx, .fp16.onnx and .int8.onnx of 120x160, and street.ranges.json. Read only."""
    folder = tmp_path_factory.mktemp("exported")
    options = f"--name street --size 120x160 --calibration {photo} --quiet"
    saved = f"--save-ranges {folder / 'street.ranges.json'}"
    assert main(["export", WEIGHTS, "--output", str(folder), *options.split(), *saved.split()]) == 0
    return folder


@pytest.fixture(scope="session")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """street.fp32.onnx, for any size and batch. Read only."""
    path = tmp_path_factory.mktemp("dynamic") / "street.fp32.onnx"
    return to_onnx(WEIGHTS, path, OnnxOptions(SIZE, dynamic=True))


@pytest.fixture(scope="session")
def built(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exports with an engine beside each. Read only."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    folder = tmp_path_factory.mktemp("built") / "street"
    shutil.copytree(exported, folder)
    for precision in ("fp32", "fp16", "int8"):
        to_engine(folder / f"street.{precision}.onnx", EngineOptions(runtime="rtx", quiet=True))
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exports, to break."""
    return Path(shutil.copytree(exported, tmp_path / "street"))


@pytest.fixture(scope="session")
def photo_frame(photo: Path) -> NDArray[np.uint8]:
    """(427, 640, 3) uint8 BGR."""
    return read_frame(photo)


@pytest.fixture(scope="session")
def small_photo(photo_frame: NDArray[np.uint8], card: Card) -> NDArray[np.uint8]:
    """The photo as the exports take it, (1, 120, 160, 3)."""
    return fit(photo_frame, sized(card))[None]


@pytest.fixture(scope="session")
def streets(camvid: Path, card: Card) -> list[NDArray[np.uint8]]:
    """Four validation frames as the exports take them, each (1, 120, 160, 3)."""
    images = list_images(camvid / "images/val")[::26]
    return [fit(read_frame(path), sized(card))[None] for path in images]


@pytest.fixture(scope="session")
def training_images(camvid: Path) -> list[Path]:
    """Twelve of them, spread over the sequences."""
    return list_images(camvid / "images/train")[::31]


def sized(card: Card) -> Card:
    return replace(card, input_shape=(1, *SIZE, 3))
