"""The nodes, tensor types and shapes of an ONNX file, read with the standard library; no weight is
read.

Enough to say what TensorRT is asked to do, where the onnx package is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from runtime.errors import InputError
from runtime.protobuf import Field, fields, varints

# Field numbers of onnx.proto.
GRAPH, OPSET = 7, 8
OPSET_DOMAIN, OPSET_VERSION = 1, 2
NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO = 1, 5, 11, 12, 13
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP_TYPE, NODE_ATTRIBUTE = 1, 2, 3, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_INTEGER = 1, 3
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME = 1, 2, 8
VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT = 1, 2, 1, 1
TENSOR_SHAPE, SHAPE_DIM, DIM_VALUE, DIM_NAME = 2, 1, 1, 2

# onnx.TensorProto.DataType.
TYPES = MappingProxyType(
    {
        1: "fp32",
        10: "fp16",
        11: "fp64",
        16: "bf16",
        2: "uint8",
        4: "uint16",
        12: "uint32",
        13: "uint64",
        3: "int8",
        5: "int16",
        6: "int32",
        7: "int64",
        8: "string",
        9: "bool",
    }
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
class Value:
    """An input or output of a graph.

    kind: its type, such as uint8. shape: None where the file says nothing of it; in it a number, a
    name of a free dimension, or None.
    """

    name: str
    kind: str
    shape: tuple[int | str | None, ...] | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name}: {self.kind} of unknown shape"
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.kind} ({sizes})"


@dataclass(frozen=True)
class Graph:
    """types: of every tensor, such as fp16. initializer_shapes: of the weights, by name.
    inputs, outputs: of the whole graph. opsets: their version, by domain; "" is ONNX's own.
    shapes: of the other tensors, by name, as far as the file states them without a free dimension.
    """

    nodes: tuple[Node, ...]
    types: Mapping[str, str]
    initializer_shapes: Mapping[str, tuple[int, ...]]
    inputs: tuple[Value, ...] = ()
    outputs: tuple[Value, ...] = ()
    opsets: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


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
    shapes: dict[str, tuple[int, ...]] = {}
    opsets: dict[str, int] = {}
    values: dict[int, list[Value]] = {INPUT: [], OUTPUT: [], VALUE_INFO: []}
    for part in fields(file, 0, size):
        if part.number == OPSET:
            domain, version = _opset(file, part)
            opsets["" if domain == "ai.onnx" else domain] = version
        if part.number != GRAPH:
            continue
        for entry in fields(file, part.start, part.end):
            if entry.number == NODE:
                nodes.append(_node(file, entry))
            elif entry.number == INITIALIZER:
                name, types[name], shapes[name] = _initializer(file, entry)
            elif entry.number in values:
                values[entry.number].append(_value(file, entry))
    types |= {value.name: value.kind for value in values[INPUT]}
    _follow_types(nodes, types)
    # Files of IR version 3 list the weights among the inputs.
    inputs = tuple(value for value in values[INPUT] if value.name not in shapes)
    stated = {
        value.name: tuple(side for side in value.shape if isinstance(side, int))
        for value in chain.from_iterable(values.values())
        if value.shape is not None and all(isinstance(side, int) for side in value.shape)
    }
    return Graph(tuple(nodes), types, shapes, inputs, tuple(values[OUTPUT]), opsets, stated)


def _opset(file: BinaryIO, entry: Field) -> tuple[str, int]:
    domain, version = "", 0
    for part in fields(file, entry.start, entry.end):
        if part.number == OPSET_DOMAIN:
            domain = part.text(file)
        elif part.number == OPSET_VERSION:
            version = part.value
    return domain, version


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


def _value(file: BinaryIO, entry: Field) -> Value:
    name, kind, shape = "", "no tensor", None
    for part in fields(file, entry.start, entry.end):
        if part.number == VALUE_NAME:
            name = part.text(file)
        elif part.number == VALUE_TYPE:
            for tensor in fields(file, part.start, part.end):
                if tensor.number == TYPE_TENSOR:
                    kind, shape = _tensor_type(file, tensor)
    return Value(name, kind, shape)


def _tensor_type(file: BinaryIO, tensor: Field) -> tuple[str, tuple[int | str | None, ...] | None]:
    kind, shape = 0, None
    for part in fields(file, tensor.start, tensor.end):
        if part.number == TENSOR_ELEMENT:
            kind = part.value
        elif part.number == TENSOR_SHAPE:
            dims = fields(file, part.start, part.end)
            shape = tuple(_dimension(file, dim) for dim in dims if dim.number == SHAPE_DIM)
    return TYPES.get(kind, f"type {kind}"), shape


def _dimension(file: BinaryIO, dim: Field) -> int | str | None:
    for part in fields(file, dim.start, dim.end):
        if part.number == DIM_VALUE:
            return part.value
        if part.number == DIM_NAME:
            return part.text(file) or None
    return None


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
