"""Which ONNX files an engine may take its weights from; what runs on the GPU is not tried here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from export.building.refit import refit
from export.to_onnx import save
from runtime.card import read_card, write_sidecar
from runtime.errors import InputError


def engine_of(onnx_file: Path, **changes: Any) -> Path:
    """A file with the sidecar of a refittable engine of this ONNX file, but for some entries."""
    engine = onnx_file.with_suffix(".rtx.engine")
    engine.write_bytes(b"a plan")
    card = replace(read_card(onnx_file), **changes)
    write_sidecar(engine, card, {"package": "rtx", "weights": "refittable"})
    return engine


@pytest.mark.parametrize(
    ("name", "value"),
    [("precision", "fp32"), ("input_shape", (1, 240, 320, 3)), ("output_kind", "logits")],
)
def test_weights_that_were_exported_otherwise_are_refused(
    name: str, value: Any, folder: Path
) -> None:
    onnx_file = folder / "street.fp16.onnx"
    engine = engine_of(onnx_file, **{name: value})
    with pytest.raises(InputError, match=rf"was built with {name} .*; refit with weights that"):
        refit(engine, onnx_file)
    assert engine.read_bytes() == b"a plan"


def test_weights_beside_the_file_must_be_its_own(folder: Path) -> None:
    onnx_file = folder / "street.fp16.onnx"
    save(onnx.load(onnx_file), onnx_file, read_card(onnx_file), external_above=0)
    engine = engine_of(onnx_file)
    data = onnx_file.with_name(read_card(onnx_file).details["external_data"]["file"])
    data.write_bytes(data.read_bytes()[::-1])
    with pytest.raises(InputError, match=r"street\.fp16\.onnx .*SHA-256"):
        refit(engine, onnx_file)
