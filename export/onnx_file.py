"""An ONNX file written weight by weight: the model is in memory once and not three times."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import onnx

from runtime.files import written_whole

# Protobuf's own limit is 2 GiB; the rest of the message needs some of it.
EXTERNAL_ABOVE_BYTES = 2**31 - 2**24
ALIGNMENT_BYTES = 4096  # so that a reader can map each weight into memory
SMALL_BYTES = 1024  # constants such as sizes and scales stay in the graph, where readers look
GRAPH_TAG, INITIALIZER_TAG = 7 << 3 | 2, 5 << 3 | 2  # fields of onnx.proto, length-delimited


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """What model.SerializeToString() gives, field by field."""
    weights = model.graph.initializer
    frame = onnx.ModelProto()
    for entry, value in model.ListFields():
        if entry.name != "graph":
            _copy_field(frame, entry.name, value)
    graph = onnx.GraphProto()
    for entry, value in model.graph.ListFields():
        if entry.name != "initializer":
            _copy_field(graph, entry.name, value)
    rest = graph.SerializeToString()
    sizes = [weight.ByteSize() for weight in weights]
    length = len(rest) + sum(1 + len(_varint(size)) + size for size in sizes)
    with path.open("wb") as file:
        file.write(bytes([GRAPH_TAG]) + _varint(length) + rest)
        for weight, size in zip(weights, sizes, strict=True):
            file.write(bytes([INITIALIZER_TAG]) + _varint(size))
            file.write(weight.SerializeToString())
        # Last, so that a file cut short has no card.
        file.write(frame.SerializeToString())


def write_data(model: onnx.ModelProto, path: Path) -> dict[str, str | int]:
    """Move the weights of the model into a file of their own.

    Returns what the card says of the file: its name, size in bytes, and SHA-256.
    """
    digest = hashlib.sha256()
    with written_whole(path) as temporary, temporary.open("wb") as file:
        for weight in model.graph.initializer:
            if len(weight.raw_data) > SMALL_BYTES:
                _move(weight, file, digest, path.name)
        size_bytes = file.tell()
    return {"file": path.name, "size_bytes": size_bytes, "sha256": digest.hexdigest()}


def _move(weight: onnx.TensorProto, file: BinaryIO, digest: hashlib._Hash, location: str) -> None:
    padding = bytes(-file.tell() % ALIGNMENT_BYTES)
    for part in (padding, weight.raw_data):
        file.write(part)
        digest.update(part)
    length = len(weight.raw_data)
    place = {"location": location, "offset": file.tell() - length, "length": length}
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in place.items():
        weight.external_data.add(key=key, value=str(value))


def _copy_field(message: object, name: str, value: object) -> None:
    target = getattr(message, name)
    if hasattr(target, "MergeFrom"):
        target.MergeFrom(value)
    else:
        setattr(message, name, value)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
