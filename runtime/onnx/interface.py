"""What an ONNX file takes and gives, read with the standard library; no weight is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runtime.errors import InputError
from runtime.onnx.graph import GRAPH, INPUT, TENSOR_ELEMENT, TYPE_TENSOR, TYPES
from runtime.onnx.graph import VALUE_NAME as NAME
from runtime.onnx.graph import VALUE_TYPE as TYPE
from runtime.protobuf import Field, fields

# Field numbers of onnx.proto.
OUTPUT, TENSOR_SHAPE, SHAPE_DIMENSION, DIMENSION_VALUE = 12, 2, 1, 1


@dataclass(frozen=True)
class TensorType:
    """name: of an input or output. element: such as uint8. shape: None for a free dimension."""

    name: str
    element: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class FrameInterface:
    """frames: the input, (N, H, W, 3) uint8. masks: the output, (N, H, W) uint8."""

    frames: TensorType
    masks: TensorType


def read_frame_interface(path: Path) -> FrameInterface:
    """The one input and the one output of a frame-to-mask file.

    Raises InputError if it is no whole ONNX file, or takes or gives something else.
    """
    try:
        with path.open("rb") as file:
            inputs, outputs = _read(file, path.stat().st_size)
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path} is not a whole ONNX file; write it again: refinenet export"
        ) from error
    described = [(entry.element, len(entry.shape)) for entry in (*inputs, *outputs)]
    if len(inputs) != 1 or described != [("uint8", 4), ("uint8", 3)]:
        found = ", ".join(
            f"{entry.name} {entry.element} of {len(entry.shape)} dimensions"
            for entry in (*inputs, *outputs)
        )
        raise InputError(
            f"{path} takes and gives {found or 'nothing'}; expected uint8 frames (N, H, W, 3) and "
            "uint8 masks (N, H, W). Write it with refinenet export, without --output-kind logits"
        )
    return FrameInterface(inputs[0], outputs[0])


def _read(file: BinaryIO, size: int) -> tuple[list[TensorType], list[TensorType]]:
    found: dict[int, list[TensorType]] = {INPUT: [], OUTPUT: []}
    for graph in fields(file, 0, size):
        if graph.number == GRAPH:
            for entry in fields(file, graph.start, graph.end):
                if entry.number in found:
                    found[entry.number].append(_tensor_type(file, entry))
    return found[INPUT], found[OUTPUT]


def _tensor_type(file: BinaryIO, entry: Field) -> TensorType:
    name, element = "", 0
    shape: tuple[int | None, ...] = ()
    for part in fields(file, entry.start, entry.end):
        if part.number == NAME:
            name = part.text(file)
        elif part.number == TYPE:
            for tensor in fields(file, part.start, part.end):
                if tensor.number == TYPE_TENSOR:
                    for of_tensor in fields(file, tensor.start, tensor.end):
                        if of_tensor.number == TENSOR_ELEMENT:
                            element = of_tensor.value
                        elif of_tensor.number == TENSOR_SHAPE:
                            shape = _shape(file, of_tensor)
    return TensorType(name, TYPES.get(element, f"type {element}"), shape)


def _shape(file: BinaryIO, entry: Field) -> tuple[int | None, ...]:
    """A dimension without a number, or with a name, is free."""
    shape: list[int | None] = []
    for dimension in fields(file, entry.start, entry.end):
        if dimension.number == SHAPE_DIMENSION:
            values = [
                part.value
                for part in fields(file, dimension.start, dimension.end)
                if part.number == DIMENSION_VALUE
            ]
            shape.append(values[0] if values else None)
    return tuple(shape)
