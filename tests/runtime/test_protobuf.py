"""Protobuf messages are walked without the package, and what is none is refused."""

from __future__ import annotations

import io

import pytest

from runtime.protobuf import Field, fields, varint, varints


def walked(content: bytes) -> list[Field]:
    return list(fields(io.BytesIO(content), 0, len(content)))


@pytest.mark.parametrize(
    ("content", "value"), [(b"\x00", 0), (b"\x7f", 127), (b"\x80\x01", 128), (b"\xac\x02", 300)]
)
def test_a_number_takes_seven_bits_a_byte(content: bytes, value: int) -> None:
    assert varint(io.BytesIO(content)) == value


def test_every_kind_of_field_is_stepped_over() -> None:
    number, fixed64, text, fixed32 = b"\x08\xac\x02", b"\x11" + bytes(8), b"\x1a\x02hi", b"\x25" * 5
    content = number + fixed64 + text + fixed32
    assert [field.number for field in walked(content)] == [1, 2, 3, 4]
    assert walked(content)[0].value == 300
    assert walked(content)[2].text(io.BytesIO(content)) == "hi"
    parts = [content[field.tag : field.end] for field in walked(content)]
    assert parts == [number, fixed64, text, fixed32]


def test_the_file_may_be_read_between_two_fields() -> None:
    content = b"\x0a\x02hi\x12\x03all"
    file = io.BytesIO(content)
    assert [field.text(file) for field in fields(file, 0, len(content))] == ["hi", "all"]


def test_a_packed_field_is_a_list_of_numbers() -> None:
    assert varints(b"\x01\xac\x02\x03") == [1, 300, 3]


@pytest.mark.parametrize("content", [b"\x0a\x05hi", b"\x08", b"\x08\x80", b"\x11\x00"])
def test_a_message_cut_short_ends_too_early(content: bytes) -> None:
    with pytest.raises(EOFError):
        walked(content)


@pytest.mark.parametrize("content", [b"\x0b", b"\x0f", b"\xff" * 11])
def test_what_is_no_protobuf_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a protobuf"):
        walked(content)
