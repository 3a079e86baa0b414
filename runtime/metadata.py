"""Read the strings stored in an ONNX file or a safetensors header, with the standard library alone.

The runtime and the engine builder need the card of a file without importing onnx or torch.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import BinaryIO

from runtime.errors import CardError

MAX_HEADER_BYTES = 100 * 2**20  # safetensors' own limit
METADATA_PROPS = 14  # field of onnx.ModelProto
VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5  # protobuf wire types


def embedded_metadata(path: Path) -> dict[str, str]:
    """The strings inside an .onnx or .safetensors file, by key; empty for any other ending.

    Raises CardError if the file is not what its ending says, or is cut short.
    """
    readers = {".onnx": _onnx_metadata, ".safetensors": _safetensors_metadata}
    if path.suffix not in readers:
        return {}
    try:
        with path.open("rb") as file:
            return readers[path.suffix](file, path.stat().st_size)
    except (ValueError, TypeError, AttributeError, LookupError, EOFError, RecursionError) as error:
        # Whatever stands where something else should: the content is not ours to trust.
        raise CardError(
            f"{path} is not a whole {path.suffix[1:]} file (wrong type, or cut short); "
            "write or copy it again"
        ) from error


def _safetensors_metadata(file: BinaryIO, size: int) -> dict[str, str]:
    """Eight bytes of header length, then a JSON object with the key __metadata__."""
    (length,) = struct.unpack("<Q", _read(file, 8, size))
    header = json.loads(_read(file, length, size))
    if not isinstance(header, dict):
        raise ValueError("the header is not an object")
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise EOFError
    metadata = header.get("__metadata__", {})
    return {str(key): str(value) for key, value in metadata.items()}


def _onnx_metadata(file: BinaryIO, size: int) -> dict[str, str]:
    """metadata_props, found by walking the top level of the protobuf; the graph is skipped."""
    metadata = {}
    while file.tell() < size:
        tag = _varint(file)
        if tag == METADATA_PROPS << 3 | LENGTH_DELIMITED:
            key, value = _string_pair(_read(file, _varint(file), size))
            metadata[key] = value
        else:
            _skip(file, tag & 7, size)
    return metadata


def _string_pair(entry: bytes) -> tuple[str, str]:
    """A StringStringEntryProto: the key is field 1, the value field 2."""
    file, fields = io.BytesIO(entry), {1: "", 2: ""}
    while file.tell() < len(entry):
        tag = _varint(file)
        fields[tag >> 3] = _read(file, _varint(file), len(entry)).decode("utf-8")
    return fields[1], fields[2]


def _skip(file: BinaryIO, wire_type: int, size: int) -> None:
    if wire_type == VARINT:
        _varint(file)
        return
    if wire_type not in (FIXED64, LENGTH_DELIMITED, FIXED32):
        raise ValueError("not a protobuf")
    length = {FIXED64: 8, FIXED32: 4}.get(wire_type) or _varint(file)
    if file.tell() + length > size:
        raise EOFError
    file.seek(length, io.SEEK_CUR)


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError("not a protobuf")


def _read(file: BinaryIO, length: int, size: int) -> bytes:
    if length > min(MAX_HEADER_BYTES, size - file.tell()):
        raise EOFError
    return file.read(length)
