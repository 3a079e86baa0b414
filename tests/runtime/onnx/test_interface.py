"""What a file takes and gives, read without the onnx package."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import write_model

from runtime.errors import InputError
from runtime.onnx.interface import read_frame_interface


@pytest.mark.parametrize("shape", [(None, None, None, 3), (1, 120, 160, 3), (None, 8, 9, 3)])
def test_names_and_shapes_are_those_of_the_graph(
    shape: tuple[int | None, ...], tmp_path: Path
) -> None:
    found = read_frame_interface(write_model(tmp_path / "street.onnx", shape, convolved=True))
    assert (found.frames.name, found.frames.element, found.frames.shape) == (
        "frame",
        "uint8",
        shape,
    )
    assert (found.masks.name, found.masks.element, found.masks.shape) == (
        "mask",
        "uint8",
        shape[:3],
    )


def test_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="logits fp32 of 4 dimensions"):
        read_frame_interface(write_model(tmp_path / "street.onnx", output_kind="logits"))


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", b"\x3a\xff\xff\x01"])
def test_what_is_no_onnx_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "street.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match="refinenet export"):
        read_frame_interface(path)
