"""Cards that people write, ONNX files of other tools, and files that are no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from onnx import NodeProto, TensorProto, helper, save

from tools.reliability.met.rows import BGR_IDS, RGB_IDS, mask_is, refused, right, written
from tools.reliability.shelf import CLASSES, PALETTE
from tools.reliability.surroundings import Prepare, Surrounding

SEGMENT = "segment photo.png --output out.png --model"
WITH_CARD = f"{SEGMENT} bare.onnx --card own.json"
NATURAL = {"classes": CLASSES, "palette": PALETTE, "mean": [0, 0, 0], "std": [1, 1, 1]}


def _taken(entries: Any, ids: Any = RGB_IDS) -> Surrounding:
    return right(WITH_CARD, written(own__json=entries), mask_is(ids))


def _not_taken(says: str, **entries: Any) -> Surrounding:
    return refused(WITH_CARD, written(own__json={**NATURAL, **entries}), says)


CARDS: Mapping[str, Surrounding] = MappingProxyType(
    {
        "class names alone": _taken({"classes": CLASSES}),
        "as the docs suggest it": _taken(NATURAL),
        "BGR": _taken({**NATURAL, "channel_order": "BGR"}, BGR_IDS),
        "with a byte order mark": _taken("\ufeff" + json.dumps(NATURAL)),
        "no classes": refused(
            WITH_CARD, written(own__json={"mean": [0, 0, 0], "std": [1, 1, 1]}), "classes"
        ),
        "an unknown entry": _not_taken("colours", colours=PALETTE),
        "an order that is none": _not_taken("channel_order", channel_order="GBR"),
        "a colour too few": _not_taken("palette", palette=PALETTE[:2]),
        "a mean of two numbers": _not_taken("mean", mean=[0, 0]),
        "a deviation of zero": _not_taken("std", std=[0, 1, 1]),
        "a policy that is none": _not_taken("resize_policy", resize_policy="crop"),
        "a batch that is none": _not_taken("input_shape", input_shape=[0, 7, 7, 3]),
        "an output that the file denies": _not_taken("logits", output_kind="logits"),
        "a class too few": _not_taken(
            "2", classes=CLASSES[:2], palette=PALETTE[:2], channel_order="BGR"
        ),
        "not JSON": refused(WITH_CARD, written(own__json="classes: [a, b]"), "own.json"),
        "inspect": right("inspect bare.onnx --card own.json", written(own__json=NATURAL)),
        "benchmark": right(
            "benchmark bare.onnx --card own.json --images photo.png --size 48x64 --seconds 0.01 "
            "--rounds 1",
            written(own__json=NATURAL),
        ),
    }
)


def _foreign(
    nodes: list[NodeProto],
    result: int,
    shape: list[Any],
    frame: int = TensorProto.UINT8,
    sizes: Sequence[Any] = ("n", "h", "w"),
    **entries: Any,
) -> Prepare:
    """own.onnx without a card from `frame` (N, H, W, 3) to `result` of some shape, and own.json.

    sizes: N, H, W. entries: of own.json beside those of NATURAL.
    """

    def write(room: Path) -> None:
        written(own__json={**NATURAL, **entries})(room)
        graph = helper.make_graph(
            nodes,
            "foreign",
            [helper.make_tensor_value_info("frame", frame, [*sizes, 3])],
            [helper.make_tensor_value_info("result", result, shape)],
        )
        opsets = [helper.make_opsetid("", 17)]
        save(helper.make_model(graph, opset_imports=opsets, ir_version=8), room / "own.onnx")

    return write


def _ids(keepdims: int, kind: int, cast: bool = False) -> list[NodeProto]:
    found = "id" if cast else "result"
    last = [helper.make_node("Cast", ["id"], ["result"], to=kind)] if cast else []
    return [
        helper.make_node("Cast", ["frame"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["float"], [found], axis=3, keepdims=keepdims),
        *last,
    ]


INT64, INT32, FLOAT = TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT
LAST_AXIS = _foreign(_ids(1, INT64), INT64, ["n", "h", "w", 1])
NO_AXIS = _foreign(_ids(0, INT64), INT64, ["n", "h", "w"])
OF_INT32 = _foreign(_ids(0, INT32, cast=True), INT32, ["n", "h", "w"])
OF_FLOAT = _foreign(_ids(0, FLOAT, cast=True), FLOAT, ["n", "h", "w"])
FLOATS = _foreign(
    [helper.make_node("ArgMax", ["frame"], ["result"], axis=3, keepdims=0)],
    INT64, ["n", "h", "w"], FLOAT,
)  # fmt: skip
ONE_SCORE = _foreign(
    [
        helper.make_node("Cast", ["frame"], ["float"], to=FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[3], keepdims=1),
        helper.make_node("Transpose", ["mean"], ["result"], perm=[0, 3, 1, 2]),
    ],
    FLOAT,
    ["n", 1, "h", "w"],
)
STATIC = _foreign(_ids(0, INT64), INT64, [1, 48, 64], sizes=(1, 48, 64), input_shape=[1, 7, 7, 3])
OWN = f"{SEGMENT} own.onnx"
BY_CARD = f"{OWN} --card own.json"


def _ids_beyond(room: Path) -> None:
    NO_AXIS(room)
    written(own__json={"classes": CLASSES[:2]})(room)


ONNX_FILES: Mapping[str, Surrounding] = MappingProxyType(
    {
        "int64 ids, without a card": refused(OWN, NO_AXIS, "--card"),
        "int64 ids": right(BY_CARD, NO_AXIS, mask_is(RGB_IDS)),
        "int64 ids (N, H, W, 1)": right(BY_CARD, LAST_AXIS, mask_is(RGB_IDS)),
        "int32 ids": right(BY_CARD, OF_INT32, mask_is(RGB_IDS)),
        "ids as floats": refused(BY_CARD, OF_FLOAT, "float"),
        "a float frame": refused(BY_CARD, FLOATS, "uint8"),
        "one channel of scores": refused(BY_CARD, ONE_SCORE),
        "an id without a class": refused(BY_CARD, _ids_beyond, "2"),
        "a size that the card denies": refused(BY_CARD, STATIC, "7"),
        "inspect without a card": right("inspect own.onnx", LAST_AXIS, says="int64"),
        "inspect of floats": right("inspect own.onnx", FLOATS, says="fp32"),
        "build of int64 ids": refused("build own.onnx --card own.json --runtime rtx", NO_AXIS),
        "build without a card": refused("build own.onnx --runtime rtx", NO_AXIS, "--card"),
        "benchmark without a card": refused("benchmark own.onnx --images photo.png", NO_AXIS),
        "a text called .engine": refused("inspect own.engine", written(own__engine="hello\n")),
        "segment with a text called .engine": refused(
            f"{SEGMENT} own.engine --card card.json", written(own__engine="hello\n")
        ),
        "a text called .onnx": refused(f"{SEGMENT} text.onnx", written(text__onnx="hello\n")),
    }
)
