"""Tiny frame models, written with onnx alone: the mask is the brightest channel of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.card import CARD_KEY, Card

FREE = (None, None, None, 3)
CARD = Card(
    variant="toy",
    classes=("blue", "green", "red"),
    palette=((0, 0, 255), (0, 255, 0), (255, 0, 0)),
    channel_order="BGR",
    input_shape=FREE,
    output_kind="mask",
)


def write_model(
    path: Path,
    shape: Sequence[int | None] = FREE,
    card: Card | None = CARD,
    output_kind: str = "mask",
    *,
    convolved: bool = False,
) -> Path:
    """uint8 frame (N, H, W, 3) to uint8 mask (N, H, W), or to float logits (N, 3, H, W).

    convolved: a mask file has a convolution too, which changes no value.
    """
    if output_kind == "mask":
        nodes = [
            helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
            *(_convolution() if convolved else []),
            helper.make_node(
                "ArgMax",
                ["scores" if convolved else "float"],
                ["id"],
                axis=1 if convolved else 3,
                keepdims=0,
            ),
            # By way of float, as frame_model.py: TensorRT documents no cast from int64 to uint8.
            helper.make_node("Cast", ["id"], ["float_id"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["float_id"], ["mask"], to=TensorProto.UINT8),
        ]
        result = helper.make_tensor_value_info("mask", TensorProto.UINT8, _named(shape[:3]))
    else:
        nodes = [
            helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["float"], ["logits"], perm=[0, 3, 1, 2]),
        ]
        result = helper.make_tensor_value_info("logits", TensorProto.FLOAT, _named("NCHW"))
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, _named(shape))
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    kernel[range(3), range(3), 1, 1] = 1
    constants = [numpy_helper.from_array(kernel, "kernel")] if convolved else []
    graph = helper.make_graph(nodes, "toy", [frame], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    if card is not None:
        contents = replace(card, input_shape=tuple(shape), output_kind=output_kind)
        helper.set_model_props(model, {CARD_KEY: contents.to_json()})
    onnx.save(model, path)
    return path


def brightest_channel(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What the mask must be: (H, W, 3) uint8 BGR to (H, W) uint8."""
    return frame.argmax(2).astype(np.uint8)


def untied(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The frame with its lowest two bits set, otherwise for each channel: one is the brightest.

    A tenth of CamVid's pixels have two brightest channels, and which of them ArgMax takes on a GPU
    nobody promises.
    """
    return (frame & np.uint8(0xFC)) | np.array([2, 1, 0], np.uint8)


def _convolution() -> list[onnx.NodeProto]:
    """From `float`, (N, H, W, 3), to `scores`, (N, 3, H, W)."""
    return [
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["scores"], pads=[1] * 4),
    ]


def _named(sizes: Sequence[object]) -> list[object]:
    """ONNX wants a name for a free dimension."""
    return [f"d{index}" if size is None else size for index, size in enumerate(sizes)]
