"""ONNX files without the copies: written weight by weight, and read without their weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from runtime.files import written_whole
from runtime.protobuf import Field, fields

Message = TypeVar("Message", onnx.ModelProto, onnx.GraphProto)

# Protobuf's own limit is 2 GiB; the rest of the message needs some of it.
EXTERNAL_ABOVE_BYTES = 2**31 - 2**24
ALIGNMENT_BYTES = 4096  # so that a reader can map each weight into memory
SMALL_BYTES = 1024  # constants such as sizes and scales stay in the graph, where readers look
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9  # fields of onnx.proto
GRAPH_TAG, INITIALIZER_TAG = GRAPH << 3 | 2, INITIALIZER << 3 | 2  # length-delimited


def outline(path: Path) -> onnx.ModelProto:
    """The model in a file, with its large weights left there: as external data, each at its place
    in the file itself. What is to read them needs the folder of the file."""
    model = onnx.ModelProto()
    with path.open("rb") as file:
        for part in fields(file, 0, path.stat().st_size):
            if part.number != GRAPH:
                model.MergeFromString(_between(file, part.tag, part.end))
                continue
            for entry in fields(file, part.start, part.end):
                if entry.number == INITIALIZER:
                    model.graph.initializer.append(_left_in_place(file, entry, path.name))
                else:
                    model.graph.MergeFromString(_between(file, entry.tag, entry.end))
    return model


def _left_in_place(file: BinaryIO, entry: Field, location: str) -> onnx.TensorProto:
    for data in fields(file, entry.start, entry.end):
        if data.number == RAW_DATA and data.end - data.start > SMALL_BYTES:
            weight = onnx.TensorProto.FromString(
                _between(file, entry.start, data.tag) + _between(file, data.end, entry.end)
            )
            _point_to(weight, location, data.start, data.end - data.start)
            return weight
    return onnx.TensorProto.FromString(entry.bytes(file))


def _between(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def values_of(weight: onnx.TensorProto, folder: Path) -> NDArray[Any]:
    """The values of a weight, also of an outline, whose file lies in the folder."""
    if weight.data_location != onnx.TensorProto.EXTERNAL:
        values: NDArray[Any] = numpy_helper.to_array(weight)
        return values
    # onnx's own reader would keep what it reads in the outline, and refuses files with two names.
    place = {entry.key: entry.value for entry in weight.external_data}
    with (folder / place["location"]).open("rb") as file:
        file.seek(int(place["offset"]))
        content = file.read(int(place["length"]))
    kind = helper.tensor_dtype_to_np_dtype(weight.data_type)
    return np.frombuffer(content, kind).reshape(tuple(weight.dims))


def typed(model: onnx.ModelProto) -> onnx.GraphProto:
    """The graph with the types and shapes of all tensors, and without its large weights, which
    shape inference would copy three times."""
    bare = _without("graph", model)
    bare.graph.CopyFrom(_without("initializer", model.graph))
    for weight in model.graph.initializer:
        if weight.ByteSize() > SMALL_BYTES:
            bare.graph.initializer.add(
                name=weight.name,
                dims=weight.dims,
                data_type=weight.data_type,
                data_location=onnx.TensorProto.EXTERNAL,
            )
        else:
            bare.graph.initializer.append(weight)
    return onnx.shape_inference.infer_shapes(bare).graph


def untyped_tensors(model: onnx.ModelProto) -> list[str]:
    """The results of nodes whose type is not known, so that nobody can say what becomes of them."""
    graph = typed(model)
    known = {
        value.name
        for value in (*graph.value_info, *graph.output, *model.graph.value_info)
        if value.type.tensor_type.elem_type or not value.type.HasField("tensor_type")
    }
    return [name for node in model.graph.node for name in node.output if name and name not in known]


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """What the nodes of a graph compute in float32, in the graph's order."""
    graph = typed(model)
    floats = {
        value.name
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    return [name for node in model.graph.node for name in node.output if name in floats]


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """What model.SerializeToString() gives, field by field."""
    weights = model.graph.initializer
    frame = _without("graph", model)
    rest = _without("initializer", model.graph).SerializeToString()
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
    weight.ClearField("raw_data")
    _point_to(weight, location, file.tell() - length, length)


def _point_to(weight: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        weight.external_data.add(key=key, value=str(value))


def _without(left_out: str, message: Message) -> Message:
    """A copy of a protobuf message without one of its fields."""
    rest = type(message)()
    for entry, value in message.ListFields():
        if entry.name != left_out:
            _copy_field(rest, entry.name, value)
    return rest


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
