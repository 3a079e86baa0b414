"""ONNX files of other tools: taken with the right ids where that is no guess, else refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_models import CARD, brightest_channel, write_model

from refinenet.__main__ import main
from runtime.card import write_sidecar
from runtime.cuda.gpu_frames import GpuFrames
from runtime.errors import CardError, InputError
from runtime.frames import read_frame
from runtime.onnx.frame_file import read_frame_card, require_plain_mask
from runtime.onnx.session import OnnxSession
from runtime.segmenter import Segmenter

CLASSES = ["first", "second", "third"]
SHAPE = (2, 6, 8, 3)
Shape = Sequence[int | str | None]


def write_foreign(
    path: Path,
    kind: int,
    *,
    axes: list[int] | None = None,
    shape: Shape = SHAPE,
    add: float = 0,
    first: str = "uint8",
) -> Path:
    """Frames to the index of the brightest channel plus `add`, of any type, with more axes."""
    results = list(shape[:3])
    for axis in axes or []:
        results.insert(axis, 1)
    nodes = [
        helper.make_node("Cast", ["frames"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["levels"], ["id"], axis=3, keepdims=0),
        helper.make_node("Cast", ["id"], ["float_id"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["float_id", "offset"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["typed"], to=kind),
    ]
    constants = [helper.make_tensor("offset", TensorProto.FLOAT, [], [add])]
    if axes:
        nodes.append(helper.make_node("Unsqueeze", ["typed", "axes"], ["ids"]))
        constants.append(helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes))
    else:
        nodes.append(helper.make_node("Identity", ["typed"], ["ids"]))
    taken = getattr(TensorProto, first.upper())
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("frames", taken, shape)],
        [helper.make_tensor_value_info("ids", kind, results)],
        constants,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def card_file(folder: Path, **entries: Any) -> Path:
    path = folder / "card.json"
    path.write_text(json.dumps({"classes": CLASSES} | entries))
    return path


def frames(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 6, 8, 3), np.uint8)


@pytest.mark.parametrize("axes", [None, [1], [3]], ids=["NHW", "N1HW", "NHW1"])
@pytest.mark.parametrize("kind", ["UINT8", "INT8", "INT32", "INT64", "UINT16", "BOOL"])
def test_ids_of_every_type_are_taken_as_they_are(
    tmp_path: Path, kind: str, axes: list[int] | None
) -> None:
    path = write_foreign(tmp_path / "a.onnx", getattr(TensorProto, kind), axes=axes)
    expected = np.stack([brightest_channel(frame) for frame in frames()])
    if kind == "BOOL":
        expected = (expected > 0).astype(np.uint8)
    out = np.empty(SHAPE[:3], np.uint8)
    with OnnxSession.open(path, card=card_file(tmp_path, channel_order="BGR")) as session:
        assert session.output_kind == "mask"
        result = session(frames())
        assert session(frames(), out) is out
    for found in (result, out):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


def test_a_file_that_takes_rgb_is_given_rgb(shared: Path) -> None:
    photo = read_frame(shared / "field/redblue.png")
    red_blue_green = photo[..., ::-1].argmax(2)  # 0 where red is the brightest
    for name in ("nhwc_u8_4d.onnx", "nhwc_int64.onnx"):
        natural = shared / "field/card_natural.json"  # classes red, green, blue
        with Segmenter.open(shared / "field" / name, card=natural) as segmenter:
            np.testing.assert_array_equal(segmenter(photo), red_blue_green)
            assert segmenter.classes == ("red", "green", "blue")
            assert segmenter.card.frame_size == (96, 128)


def test_the_channel_order_of_the_card_is_honoured(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "a.onnx", TensorProto.UINT8)
    for order, given in (("BGR", frames()), ("RGB", frames()[..., ::-1])):
        with OnnxSession.open(path, card=card_file(tmp_path, channel_order=order)) as session:
            np.testing.assert_array_equal(session(frames()), given.argmax(3))


def test_frames_on_the_gpu_are_refused_where_the_channels_would_be_swapped(
    tmp_path: Path,
) -> None:
    path = write_foreign(tmp_path / "a.onnx", TensorProto.UINT8)
    with OnnxSession.open(path, card=card_file(tmp_path)) as session:
        session._on_gpu = True  # as with another provider than the CPU's
        on_gpu = GpuFrames((2, 6, 8, 3), 4096, 24, None, 0, object())
        with pytest.raises(InputError, match="RGB"):
            session.accept(on_gpu)


@pytest.mark.parametrize(("kind", "add"), [("INT64", 1), ("INT64", -1), ("UINT8", 200)])
def test_an_id_that_no_class_has_is_an_error(tmp_path: Path, kind: str, add: float) -> None:
    path = write_foreign(tmp_path / "a.onnx", getattr(TensorProto, kind), add=add)
    with (
        OnnxSession.open(path, card=card_file(tmp_path)) as session,
        pytest.raises(InputError, match=r"gave the id .* 3 classes"),
    ):
        session(frames())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": TensorProto.FLOAT}, "Cast to uint8"),
        ({"kind": TensorProto.FLOAT, "axes": [1]}, "One channel of scores"),
        ({"kind": TensorProto.INT64, "axes": [0, 1]}, "expected class ids"),
        ({"kind": TensorProto.UINT8, "first": "float"}, "frames: fp32"),
        ({"kind": TensorProto.UINT8, "shape": (1, 3, 6, 8)}, r"uint8 \(1, 3, 6, 8\)"),
    ],
)
def test_what_would_be_a_guess_is_refused_with_a_way_out(
    tmp_path: Path, changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_foreign(tmp_path / "a.onnx", **changes)
    card = card_file(tmp_path)
    with pytest.raises(InputError, match=said):
        OnnxSession.open(path, card=card)
    assert main(["inspect", str(path), "--card", str(card)]) == 0
    shown = capsys.readouterr().out
    assert "frames: " in shown
    assert "cannot run it" in shown


def test_the_card_learns_from_the_graph_what_it_does_not_say(tmp_path: Path) -> None:
    path = write_foreign(tmp_path / "a.onnx", TensorProto.INT64, shape=("n", 6, 8, 3))
    card = read_frame_card(path, card_file(tmp_path))
    assert (card.input_shape, card.output_kind) == ((None, 6, 8, 3), "mask")
    with pytest.raises(CardError, match="the card says"):
        read_frame_card(path, card_file(tmp_path, input_shape=[1, 7, 8, 3]))
    with pytest.raises(CardError, match="the card says logits"):
        read_frame_card(path, card_file(tmp_path, output_kind="logits"))


def test_an_engine_is_built_of_plain_masks_alone(tmp_path: Path) -> None:
    require_plain_mask(write_foreign(tmp_path / "a.onnx", TensorProto.UINT8))
    for kind, axes in ((TensorProto.UINT8, [1]), (TensorProto.INT64, None)):
        with pytest.raises(InputError, match="Squeeze"):
            require_plain_mask(write_foreign(tmp_path / "b.onnx", kind, axes=axes))


def test_inspect_shows_any_onnx_file(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, words in (
        (
            shared / "field/nhwc_int64.onnx",
            ("f: uint8 (1, 96, 128, 3)", "m: int64 (1, 96, 128)", "17", "1 Cast, 1 ArgMax"),
        ),
        (write_model(tmp_path / "own.onnx"), ("frame: uint8 (d0, d1, d2, 3)", "19", "3 Cast")),
    ):
        assert main(["inspect", str(path)]) == 0
        shown = capsys.readouterr().out
        assert all(word in shown for word in words)


def test_inspect_leaves_weights_out_of_the_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(write_model(tmp_path / "a.onnx", convolved=True))
    model.graph.input.append(
        helper.make_tensor_value_info("kernel", TensorProto.FLOAT, (3, 3, 3, 3))
    )
    onnx.save(model, tmp_path / "a.onnx")
    assert main(["inspect", str(tmp_path / "a.onnx")]) == 0
    assert "kernel" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"just some text\n", b"\x89PNG\r\n", b"PK\3\4" * 9, b"tr"])
def test_a_file_that_is_called_an_engine_is_none(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.engine"
    path.write_bytes(content)
    for more in ([], ["--card", str(card_file(tmp_path))]):
        assert main(["inspect", str(path), *more]) == 2
        assert "no TensorRT engine" in capsys.readouterr().err


def test_an_engine_without_a_sidecar_is_shown_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mark in (b"ptrt", b"vtrt"):
        (tmp_path / "x.engine").write_bytes(mark + bytes(100))
        assert main(["inspect", str(tmp_path / "x.engine")]) == 0
        assert "TensorRT engine" in capsys.readouterr().out


def test_benchmark_takes_the_card_for_files_that_carry_none(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign, own = shared / "field/nhwc_int64.onnx", tmp_path / "own.onnx"
    card = shared / "field/card_natural.json"
    classes = tuple(json.loads(card.read_text())["classes"])
    write_model(own, (1, 96, 128, 3), replace(CARD, classes=classes))
    write_sidecar(own, read_frame_card(own))
    options = ["--images", str(shared / "field/redblue.png"), "--rounds", "2", "--seconds", "0.01"]
    options += ["--limit-seconds", "0.1", "--quiet"]
    assert main(["benchmark", str(foreign), str(own), *options]) == 2
    assert "--card" in capsys.readouterr().err
    assert main(["benchmark", str(foreign), str(own), *options, "--card", str(card)]) == 0
    assert capsys.readouterr().out.count("ONNX Runtime CPU") >= 2
