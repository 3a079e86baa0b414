"""The nodes, tensor types and shapes of an ONNX file, read with the standard library; no weight is
read.

Enough to say what TensorRT is asked to do, where the onnx package is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from runtime.errors import InputError
from runtime.protobuf import Field, fields, varints

# Field numbers of onnx.proto.
GRAPH = 7
NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO = 1, 5, 11, 12, 13
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP_TYPE, NODE_ATTRIBUTE = 1, 2, 3, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_INTEGER = 1, 3
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME = 1, 2, 8
VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT, TENSOR_SHAPE = 1, 2, 1, 1, 2
SHAPE_DIM, DIM_VALUE = 1, 1

# onnx.TensorProto.DataType, as far as networks compute with them.
TYPES = MappingProxyType(
    {1: "fp32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "fp16", 16: "bf16"}
)


@dataclass(frozen=True)
class Node:
    """cast_to: the type that a Cast gives, by onnx's number; 0 for any other node."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    cast_to: int = 0


@dataclass(frozen=True)
class Graph:
    """types: of every tensor, such as fp16. initializer_shapes: of the weights, by name.
    shapes: of the other tensors, by name, as far as the file states them without a free dimension.
    """

    nodes: tuple[Node, ...]
    types: Mapping[str, str]
    initializer_shapes: Mapping[str, tuple[int, ...]]
    shapes: Mapping[str, tuple[int, ...]]


def read_graph(path: Path) -> Graph:
    """The graph of an ONNX file; InputError if it is no ONNX file, or is cut short."""
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path} is not a whole ONNX file; write it again: refinenet export"
        ) from error


def _read(file: BinaryIO, size: int) -> Graph:
    nodes: list[Node] = []
    types: dict[str, str] = {}
    weight_shapes: dict[str, tuple[int, ...]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for graph in fields(file, 0, size):
        if graph.number != GRAPH:
            continue
        for entry in fields(file, graph.start, graph.end):
            if entry.number == NODE:
                nodes.append(_node(file, entry))
            elif entry.number == INITIALIZER:
                name, types[name], weight_shapes[name] = _initializer(file, entry)
            elif entry.number in (INPUT, OUTPUT, VALUE_INFO):
                name, kind, shape = _value(file, entry)
                if entry.number == INPUT:
                    types[name] = kind
                if shape is not None:
                    shapes[name] = shape
    _follow_types(nodes, types)
    return Graph(tuple(nodes), types, weight_shapes, shapes)


def _node(file: BinaryIO, entry: Field) -> Node:
    texts: dict[int, list[str]] = {
        number: [] for number in (NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP_TYPE)
    }
    cast_to = 0
    for part in fields(file, entry.start, entry.end):
        if part.number in texts:
            texts[part.number].append(part.text(file))
        elif part.number == NODE_ATTRIBUTE:
            cast_to = _cast_to(file, part) or cast_to
    return Node(
        name="".join(texts[NODE_NAME]),
        op_type="".join(texts[NODE_OP_TYPE]),
        inputs=tuple(texts[NODE_INPUT]),
        outputs=tuple(texts[NODE_OUTPUT]),
        cast_to=cast_to,
    )


def _cast_to(file: BinaryIO, attribute: Field) -> int:
    name, integer = "", 0
    for part in fields(file, attribute.start, attribute.end):
        if part.number == ATTRIBUTE_NAME:
            name = part.text(file)
        elif part.number == ATTRIBUTE_INTEGER:
            integer = part.value
    return integer if name == "to" else 0


def _initializer(file: BinaryIO, entry: Field) -> tuple[str, str, tuple[int, ...]]:
    name, kind, shape = "", 0, list[int]()
    for part in fields(file, entry.start, entry.end):
        if part.number == TENSOR_NAME:
            name = part.text(file)
        elif part.number == TENSOR_TYPE:
            kind = part.value
        elif part.number == TENSOR_DIMS:
            packed = part.end > part.start
            shape += varints(part.bytes(file)) if packed else [part.value]
    return name, TYPES.get(kind, f"type {kind}"), tuple(shape)


def _value(file: BinaryIO, entry: Field) -> tuple[str, str, tuple[int, ...] | None]:
    """Name, type and shape; no shape where a dimension is free or none is stated."""
    name, kind, shape = "", 0, None
    for part in fields(file, entry.start, entry.end):
        if part.number == VALUE_NAME:
            name = part.text(file)
        elif part.number == VALUE_TYPE:
            for tensor in fields(file, part.start, part.end):
                if tensor.number == TYPE_TENSOR:
                    for element in fields(file, tensor.start, tensor.end):
                        if element.number == TENSOR_ELEMENT:
                            kind = element.value
                        elif element.number == TENSOR_SHAPE:
                            shape = _dims(file, element)
    return name, TYPES.get(kind, f"type {kind}"), shape


def _dims(file: BinaryIO, shape: Field) -> tuple[int, ...] | None:
    sizes = []
    for dim in fields(file, shape.start, shape.end):
        if dim.number == SHAPE_DIM:
            values = [part.value for part in fields(file, dim.start, dim.end)]
            numbers = [part.number for part in fields(file, dim.start, dim.end)]
            if numbers != [DIM_VALUE]:
                return None
            sizes += values
    return tuple(sizes)


# What these give does not depend on what they take.
_OWN_TYPE = MappingProxyType(
    {"ArgMax": "int64", "Shape": "int64", "Size": "int64", "QuantizeLinear": "int8"}
)


def _follow_types(nodes: list[Node], types: dict[str, str]) -> None:
    """The types of all tensors from those of inputs and weights; nodes stand in running order."""
    for node in nodes:
        if node.cast_to:
            given = TYPES.get(node.cast_to, f"type {node.cast_to}")
        elif node.op_type in _OWN_TYPE:
            given = _OWN_TYPE[node.op_type]
        else:
            # DequantizeLinear gives its scale's type; everything else that of its first input.
            source = node.inputs[1 if node.op_type == "DequantizeLinear" else 0 : 2]
            given = next((types[name] for name in source if name in types), "unknown")
        types.update({name: given for name in node.outputs if name})
