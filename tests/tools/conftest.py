"""A tiny real ONNX file for the tests of the maintainers' programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Takes frames of any size and any number."""
    return write_model(tmp_path / "toy.fp32.onnx")
