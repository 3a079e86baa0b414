"""`import runtime` is light: what is not needed is not loaded."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

HEAVY = ("torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda")


def heavy_after(statement: str) -> list[str]:
    """The heavy packages that a fresh interpreter holds after the statement."""
    program = f"import sys; {statement}; print(*(set(sys.modules) & set({HEAVY})))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return sorted(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import runtime",
        "from runtime import Segmenter",
        "import runtime.app.segment_command",
        "import runtime.tensorrt_api, runtime.engine.compatibility",
        "import runtime.engine.engine",
        "import runtime.app.inspect, runtime.app.doctor, runtime.app.video, runtime.app.images",
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert heavy_after(statement) == []


def test_the_check_sees_a_heavy_import() -> None:
    assert heavy_after("import onnx") == ["onnx"]


def test_segmenting_loads_neither_torch_nor_onnx(model: object) -> None:
    loaded = heavy_after(
        f"import numpy; from runtime import Segmenter; "
        f"Segmenter.open({str(model)!r})(numpy.zeros((4, 6, 3), numpy.uint8))"
    )
    assert loaded == ["onnxruntime"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        _ = import_module("runtime").Segmentor
