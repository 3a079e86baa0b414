"""What an ONNX file takes and gives, and whether it can serve: a frame in, class ids or scores out.

Files that refinenet export wrote serve as they are. Those of other tools serve where their ids can
be had without a guess; everything else is refused with what to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.card import Card, read_card
from runtime.class_ids import check_ids
from runtime.errors import CardError, InputError
from runtime.onnx.graph import Value, read_graph

if TYPE_CHECKING:  # a report of measurements needs no OpenCV
    from runtime.frames import Mask

UINT8 = "uint8"
IDS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "bool")
SCORES = ("fp32", "fp16", "fp64", "bf16")

MASK, LOGITS = "mask", "logits"


@dataclass(frozen=True)
class FrameFile:
    """What a file takes and gives.

    input, output: the one of each. output_kind: mask or logits.
    plain: whether the mask is (N, H, W) uint8 already.
    """

    input: Value
    output: Value
    output_kind: str
    plain: bool

    @property
    def input_shape(self) -> tuple[int | None, int | None, int | None, int]:
        """(N, H, W, 3), None for a free dimension."""
        sizes = [
            size if isinstance(size, int) else None for size in self.input.shape or (None,) * 3
        ]
        return sizes[0], sizes[1], sizes[2], 3

    def mask(self, result: NDArray[Any], path: Path, num_classes: int) -> Mask:
        """The ids that the file gave as (N, H, W) uint8.

        Raises InputError for another shape, and for an id that is no class of the card's.
        """
        if result.ndim == 4 and 1 in (result.shape[1], result.shape[3]):
            result = result[:, 0] if result.shape[1] == 1 else result[..., 0]
        if result.ndim != 3:
            raise InputError(f"{path} gave {result.shape}; expected class ids (N, H, W)")
        check_ids(result, num_classes, path)
        return np.ascontiguousarray(result, np.uint8)


def frame_file(path: Path, inputs: Sequence[Value], outputs: Sequence[Value]) -> FrameFile:
    """What a file with these inputs and outputs is; InputError, with a way out, for others."""
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"{path} takes {_listed(inputs)} and gives {_listed(outputs)}; expected one uint8 "
            "frame (N, H, W, 3) and one result. Leave the others out where the file is exported"
        )
    (frame,), (result,) = inputs, outputs
    if not _is_frame(frame):
        raise InputError(
            f"{path} takes {frame}; expected a uint8 frame (N, H, W, 3). Put the cast, the layout "
            "and the normalization into the file, or export its network with refinenet export "
            "--factory"
        )
    kind = _output_kind(path, result)
    plain = kind == MASK and result.kind == UINT8 and len(result.shape or ()) == 3
    return FrameFile(frame, result, kind, plain)


def _is_frame(value: Value) -> bool:
    if value.kind != UINT8 or value.shape is None or len(value.shape) != 4:
        return False
    channels = value.shape[3]
    return channels == 3 or not isinstance(channels, int)


def _output_kind(path: Path, result: Value) -> str:
    shape = result.shape
    if result.kind in IDS:
        singles = (
            shape is None or len(shape) == 3 or (len(shape) == 4 and 1 in (shape[1], shape[3]))
        )
        if singles:
            return MASK
        raise InputError(
            f"{path} gives {result}; expected class ids (N, H, W), or (N, 1, H, W). Add ArgMax "
            "over the classes where the file is exported"
        )
    if result.kind in SCORES and shape is not None and len(shape) == 4 and shape[1] != 1:
        return LOGITS
    raise InputError(
        f"{path} gives {result}; expected class ids as whole numbers, (N, H, W), or scores "
        "(N, C, H, W) of several classes. Class ids as floats: add a Cast to uint8. One channel of "
        "scores: add the comparison with its threshold, and a Cast to uint8"
    )


def _listed(values: Sequence[Value]) -> str:
    return ", ".join(map(str, values)) or "nothing"


def require_plain_mask(path: Path) -> None:
    """InputError unless the file gives its result as an engine has to: nothing is added to it."""
    graph = read_graph(path)
    file = frame_file(path, graph.inputs, graph.outputs)
    if file.output_kind == MASK and not file.plain:
        raise InputError(
            f"{path} gives {file.output}; an engine of it has to give uint8 (N, H, W). Add Squeeze "
            "and Cast where the file is exported; ONNX Runtime takes the file as it is"
        )


def read_frame_card(path: Path, card_file: str | Path | None = None) -> Card:
    """The card of an ONNX file, with the shape and the kind of output that the graph states. Where
    the graph leaves a side free, the card's holds.

    Raises what read_card raises, and InputError for a file that cannot serve.
    """
    card = read_card(path, card_file)
    if card_file is None and card.input_shape is not None and card.output_kind is not None:
        return card
    graph = read_graph(path)
    file = frame_file(path, graph.inputs, graph.outputs)
    stated = card.input_shape or file.input_shape
    for said, found in zip(stated, file.input_shape, strict=True):
        if None not in (said, found) and said != found:
            raise CardError(f"the card says {stated}, and {path} takes {file.input_shape}")
    if card.output_kind not in (None, file.output_kind):
        raise CardError(f"the card says {card.output_kind}, and {path} gives {file.output}")
    batch, height, width, _ = (
        said if found is None else found
        for said, found in zip(stated, file.input_shape, strict=True)
    )
    return replace(card, input_shape=(batch, height, width, 3), output_kind=file.output_kind)
