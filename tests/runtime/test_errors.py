"""The errors are one tree, exported where an application looks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

import runtime
from runtime import errors
from runtime.app.segment_command import segment
from runtime.card import parse_card, read_sidecar
from runtime.frames import read_frame

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_is_exported_by_the_runtime(kind: type) -> None:
    assert getattr(runtime, kind.__name__) is kind
    assert kind.__name__ in runtime.__all__


def test_a_wrong_input_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_frame(tmp_path / "none.png")
    with pytest.raises(ValueError, match="classes"):
        parse_card("{}", Path("card.json"))


def test_what_catches_value_errors_does_not_say_an_input_error_twice(tmp_path: Path) -> None:
    (tmp_path / "a.onnx.card.json").write_text('{"card": {}, "sha256": "", "size_bytes": 1}')
    with pytest.raises(errors.CardError) as error:
        read_sidecar(tmp_path / "a.onnx")
    assert "is not a sidecar" not in str(error.value)
    with pytest.raises(errors.InputError) as refusal:
        segment(["a.png", "--model", "m.onnx", "--output", "rtsp://host/a"])
    assert "rtsp://host/a" in str(refusal.value)


def test_the_runtime_says_that_it_is_typed() -> None:
    assert (Path(runtime.__file__).parent / "py.typed").is_file()
