"""Walk a protobuf message in a file, with the standard library alone.

Large fields, such as weights, are stepped over and never read.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5  # wire types


@dataclass(frozen=True)
class Field:
    """One field: its number, and its value as a number, or as the bytes at `start` to `end`.

    tag: where the field begins, with its tag.
    """

    number: int
    value: int
    tag: int
    start: int
    end: int

    def bytes(self, file: BinaryIO) -> bytes:
        file.seek(self.start)
        return file.read(self.end - self.start)

    def text(self, file: BinaryIO) -> str:
        return self.bytes(file).decode("utf-8")


def fields(file: BinaryIO, start: int, end: int) -> Iterator[Field]:
    """The fields of the message between two offsets; the file may be read meanwhile.

    Raises EOFError if a field reaches beyond the end, ValueError if this is no protobuf.
    """
    position = start
    while position < end:
        file.seek(position)
        tag = varint(file)
        number, wire_type = tag >> 3, tag & 7
        value, after = 0, file.tell()
        if wire_type == VARINT:
            value = varint(file)
            after = file.tell()
        elif wire_type in (FIXED64, FIXED32):
            after += 8 if wire_type == FIXED64 else 4
        elif wire_type == LENGTH_DELIMITED:
            length = varint(file)
            after = file.tell() + length
        else:
            raise ValueError("not a protobuf")
        if after > end:
            raise EOFError
        begin = after - length if wire_type == LENGTH_DELIMITED else after
        yield Field(number, value, position, begin, after)
        position = after


def varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("not a protobuf")


def varints(content: bytes) -> list[int]:
    """A packed repeated field of whole numbers."""
    file, numbers = io.BytesIO(content), []
    while file.tell() < len(content):
        numbers.append(varint(file))
    return numbers
