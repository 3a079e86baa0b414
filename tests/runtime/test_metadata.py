"""Strings inside ONNX files and safetensors headers, read with the standard library."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from tiny_models import CARD

from runtime.card import CARD_KEY, parse_card
from runtime.errors import CardError
from runtime.metadata import embedded_metadata

ONE_FLOAT = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def write_safetensors(path: Path, header: Any, data: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_an_onnx_file_holds_its_card(model: Path) -> None:
    assert parse_card(embedded_metadata(model)[CARD_KEY], model) == CARD


def test_a_safetensors_file_holds_its_metadata(tmp_path: Path) -> None:
    header = {"__metadata__": {"card": "{}"}, "weight": ONE_FLOAT}
    path = write_safetensors(tmp_path / "w.safetensors", header, b"1234")
    assert embedded_metadata(path) == {"card": "{}"}


def test_an_engine_holds_nothing_to_read(tmp_path: Path) -> None:
    assert embedded_metadata(tmp_path / "street.engine") == {}


def test_an_onnx_file_cut_anywhere_never_passes_for_whole(model: Path) -> None:
    data = model.read_bytes()
    refused = 0
    for length in range(1, len(data)):
        model.write_bytes(data[:length])
        try:
            # A cut between two fields leaves a valid file, without the card, which comes last.
            assert CARD_KEY not in embedded_metadata(model)
        except CardError:
            refused += 1
    assert refused > 0.9 * len(data)


@pytest.mark.parametrize(
    "header",
    [
        [],
        5,
        {"weight": 1},
        {"weight": {}},
        {"weight": ONE_FLOAT | {"data_offsets": [0]}},
        {"weight": ONE_FLOAT | {"data_offsets": [0, "x"]}},
        {"weight": ONE_FLOAT | {"data_offsets": [0, 8]}},
        {"__metadata__": [1]},
        {"__metadata__": None},
    ],
)
def test_a_malformed_safetensors_header_is_refused(tmp_path: Path, header: Any) -> None:
    path = write_safetensors(tmp_path / "w.safetensors", header)
    with pytest.raises(CardError, match=r"w\.safetensors"):
        embedded_metadata(path)


@pytest.mark.parametrize("entry", [{"shape": [10**12]}, {"dtype": "F64"}, {"dtype": "F31"}])
def test_a_tensor_that_contradicts_its_place_is_refused(
    tmp_path: Path, entry: dict[str, Any]
) -> None:
    path = write_safetensors(tmp_path / "w.safetensors", {"a": ONE_FLOAT | entry}, b"1234")
    with pytest.raises(CardError, match=r"w\.safetensors"):
        embedded_metadata(path)
