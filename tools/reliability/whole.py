"""Whether a file that a command wrote is whole, told by reading it to its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import cv2
import onnx
import torch
from PIL import Image
from safetensors.torch import load_file

from benchmarks.report import BEGIN, END
from runtime.card import check_hash, sidecar_path

FRAMES = 12  # of the shelf's videos


def is_whole(path: Path) -> bool:
    """Raises nothing; False for a file that cannot be read to its end."""
    try:
        return READERS[path.suffix](path)
    except Exception:  # whatever a reader makes of half a file
        return False


def _png(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
    return True


def _video(path: Path) -> bool:
    video, frames = cv2.VideoCapture(str(path)), 0
    while video.read()[0]:
        frames += 1
    return frames == FRAMES


def _page(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return text.count(BEGIN) == text.count(END) == 1


def _onnx(path: Path) -> bool:
    onnx.checker.check_model(onnx.load(path))
    return True


def _engine(path: Path) -> bool:
    """With its sidecar, or without any: an engine whose sidecar is not written yet is refused."""
    return not sidecar_path(path).exists() or check_hash(path) is not None


READERS: Mapping[str, Callable[[Path], bool]] = MappingProxyType(
    {
        ".png": _png,
        **dict.fromkeys((".mp4", ".avi", ".mkv"), _video),
        ".md": _page,
        ".onnx": _onnx,
        ".engine": _engine,
        ".json": lambda path: isinstance(json.loads(path.read_text()), dict),
        ".csv": lambda path: path.read_text().endswith("\n"),
        ".safetensors": lambda path: bool(load_file(path)),
        ".pt": lambda path: "records" in torch.load(path, weights_only=True),
    }
)
