"""Read the strings stored in an ONNX file or a safetensors header, with the standard library alone.

The runtime and the engine builder need the card of a file without importing onnx or torch.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

from runtime.errors import CardError
from runtime.files import MAX_SMALL_BYTES
from runtime.protobuf import fields

MAX_HEADER_BYTES = MAX_SMALL_BYTES
METADATA_PROPS = 14  # field of onnx.ModelProto
DTYPE_BITS = MappingProxyType(
    {
        **dict.fromkeys(("F4",), 4),
        **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
        **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
        **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
        **dict.fromkeys(("U32", "I32", "F32"), 32),
        **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    }
)


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
    tensors = [entry for key, entry in header.items() if key != "__metadata__"]
    data_bytes = size - 8 - length
    if sum(map(_tensor_bytes, tensors)) != data_bytes:
        raise EOFError
    if any(entry["data_offsets"][1] > data_bytes for entry in tensors):
        raise ValueError("a tensor lies behind the end of the file")
    metadata = header.get("__metadata__", {})
    return {str(key): str(value) for key, value in metadata.items()}


def _tensor_bytes(entry: Mapping[str, Any]) -> int:
    """How long a tensor's data are; ValueError unless its shape and its place agree on that."""
    (begin, end), bits = entry["data_offsets"], DTYPE_BITS[entry["dtype"]]
    if begin < 0 or prod(entry["shape"]) * bits != 8 * (end - begin):
        raise ValueError("the shape of a tensor contradicts its place")
    return int(end - begin)


def _onnx_metadata(file: BinaryIO, size: int) -> dict[str, str]:
    """metadata_props, found by walking the top level of the protobuf; the graph is skipped."""
    metadata = {}
    for entry in fields(file, 0, size):
        if entry.number == METADATA_PROPS:
            if entry.end - entry.start > MAX_HEADER_BYTES:
                raise EOFError
            pair = {1: "", 2: ""}  # a StringStringEntryProto: key and value
            pair |= {part.number: part.text(file) for part in fields(file, entry.start, entry.end)}
            metadata[pair[1]] = pair[2]
    return metadata


def _read(file: BinaryIO, length: int, size: int) -> bytes:
    if length > min(MAX_HEADER_BYTES, size - file.tell()):
        raise EOFError
    return file.read(length)
