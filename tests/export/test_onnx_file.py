"""ONNX files are written weight by weight, and large ones keep their weights beside them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import run
from onnx import TensorProto, helper, numpy_helper

from export.int8.calibration import session_with_outputs
from export.onnx_file import outline, typed, values_of, write_model
from export.to_engine import EngineOptions, to_engine
from export.to_onnx import save
from runtime import tensorrt_api
from runtime.card import Card, read_card
from runtime.errors import InputError
from runtime.onnx.session import OnnxSession

SHAPE = (1, 32, 32, 3)


@pytest.fixture
def model() -> onnx.ModelProto:
    """Frames to masks through a convolution with 27 kB of weights."""
    weight = np.random.default_rng(0).normal(size=(256, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["frames"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["levels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weight", "bias"], ["scores"], pads=[1] * 4),
        helper.make_node("ArgMax", ["scores"], ["id"], axis=1, keepdims=0),
        helper.make_node("Cast", ["id"], ["float_id"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["float_id"], ["masks"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "one convolution",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, SHAPE)],
        [helper.make_tensor_value_info("masks", TensorProto.UINT8, SHAPE[:3])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.zeros(256, np.float32), "bias"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


@pytest.fixture
def frame_card(card: Card) -> Card:
    return replace(card, input_shape=SHAPE, output_kind="mask", channel_order="BGR")


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, SHAPE, np.uint8)


def test_the_file_is_what_protobuf_would_write(model: onnx.ModelProto, tmp_path: Path) -> None:
    helper.set_model_props(model, {"card": "{}"})
    write_model(model, tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx") == model


@pytest.mark.parametrize("external_above", [10**6, 1000], ids=["inside", "beside"])
def test_an_outline_is_the_model_with_its_weights_left_in_the_file(
    external_above: int, model: onnx.ModelProto, frame_card: Card, tmp_path: Path
) -> None:
    path = tmp_path / "toy.fp32.onnx"
    save(model, path, frame_card, external_above)
    whole, outlined = onnx.load(path), outline(path)
    assert outlined.ByteSize() < 5000 < whole.ByteSize()
    for weight, left in zip(whole.graph.initializer, outlined.graph.initializer, strict=True):
        np.testing.assert_array_equal(values_of(left, tmp_path), numpy_helper.to_array(weight))
    assert outlined.ByteSize() < 5000, "what was read does not stay"
    for part in (whole, outlined):
        del part.graph.initializer[:]
    assert outlined == whole


@pytest.mark.parametrize("external_above", [10**6, 1000], ids=["inside", "beside"])
def test_onnx_runtime_finds_the_weights_of_an_outline(
    external_above: int,
    model: onnx.ModelProto,
    frame_card: Card,
    frames: np.ndarray,
    tmp_path: Path,
) -> None:
    path, expected = tmp_path / "toy.fp32.onnx", run(model, frames)
    save(model, path, frame_card, external_above)
    session = session_with_outputs(outline(path), ["masks"], tmp_path)
    np.testing.assert_array_equal(session.run(None, {"frames": frames})[0], expected)


def test_types_and_shapes_are_the_same_without_the_weights(exported: Path) -> None:
    whole = onnx.load(exported / "street.fp32.onnx")
    expected = onnx.shape_inference.infer_shapes(whole).graph
    graph = typed(whole)
    assert list(graph.value_info) == list(expected.value_info)
    assert list(graph.output) == list(expected.output)
    assert graph.ByteSize() < expected.ByteSize() / 5


def test_small_files_hold_their_weights(
    model: onnx.ModelProto, frame_card: Card, tmp_path: Path
) -> None:
    path = tmp_path / "toy.fp32.onnx"
    save(model, path, frame_card, external_above=1000)
    save(onnx.load(path), path, frame_card)
    assert {file.name for file in tmp_path.iterdir()} == {path.name, f"{path.name}.card.json"}
    assert "external_data" not in read_card(path).details


def test_weights_beside_the_file_are_the_same_weights(
    model: onnx.ModelProto, frame_card: Card, frames: np.ndarray, tmp_path: Path
) -> None:
    import onnxruntime

    path, expected = tmp_path / "toy.fp32.onnx", run(model, frames)
    save(model, path, frame_card, external_above=1000)
    assert path.stat().st_size < 5000 < path.with_name("toy.fp32.onnx.data").stat().st_size
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"frames": frames})[0], expected)
    np.testing.assert_array_equal(run(onnx.load(path), frames), expected)


def test_an_engine_is_built_from_both_files_or_not_at_all(
    model: onnx.ModelProto, frame_card: Card, tmp_path: Path
) -> None:
    if not tensorrt_api.is_installed("rtx"):
        pytest.skip("TensorRT-RTX is not installed")
    path, options = tmp_path / "toy.fp32.onnx", EngineOptions(runtime="rtx", quiet=True)
    save(model, path, frame_card, external_above=1000)
    assert to_engine(path, options).stat().st_size > 27_000
    data = path.with_name("toy.fp32.onnx.data")
    whole = data.read_bytes()
    data.write_bytes(whole[:-4] + b"\0\0\0\1")
    with pytest.raises(InputError, match=r"toy\.fp32\.onnx .*SHA-256"):
        to_engine(path, options)
    data.unlink()
    with pytest.raises(InputError, match=r"toy\.fp32\.onnx\.data"):
        to_engine(path, options)


def test_onnx_runtime_opens_both_files_or_none(
    model: onnx.ModelProto, frame_card: Card, frames: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "toy.fp32.onnx"
    expected = run(model, frames)
    save(model, path, frame_card, external_above=1000)
    with OnnxSession.open(path) as session:
        np.testing.assert_array_equal(session(frames), expected)
    data = path.with_name("toy.fp32.onnx.data")
    data.write_bytes(data.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(InputError, match=r"toy\.fp32\.onnx .*SHA-256"):
        OnnxSession.open(path)


def test_a_graph_that_the_checker_refuses_leaves_no_weights_either(
    model: onnx.ModelProto, frame_card: Card, tmp_path: Path
) -> None:
    model.graph.node[2].input[0] = "nothing"
    with pytest.raises(onnx.checker.ValidationError):
        save(model, tmp_path / "toy.fp32.onnx", frame_card, external_above=1000)
    assert not list(tmp_path.iterdir())


def test_what_is_made_of_a_large_file_names_no_weights_beside_it(
    model: onnx.ModelProto, frame_card: Card, tmp_path: Path
) -> None:
    large, small = tmp_path / "toy.fp32.onnx", tmp_path / "toy.fp16.onnx"
    save(model, large, frame_card, external_above=1000)
    save(onnx.load(large), small, read_card(large))
    assert "external_data" in read_card(large).details
    assert "external_data" not in read_card(small).details


PEAK = """
import re, sys
from pathlib import Path
import onnxscript, torch.onnx._internal.exporter
import export.int8.measurement, export.to_fp16, export.to_onnx
from refinenet.__main__ import main
def peak_bytes():
    # Not ru_maxrss, which begins with the peak of the process that started this one.
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak_bytes()
from refinenet.checkpoints.load import published_card, save_checkpoint
from refinenet.variants import create_model
weights, photo = Path(sys.argv[1]), sys.argv[2]
if not weights.exists():
    save_checkpoint(weights, create_model("refinenet-50", 21), published_card("refinenet-50", 21))
else:
    options = ["--size", "128x160", "--calibration", photo, "--quiet"]
    assert main(["export", str(weights), "--output", str(weights.parent), *options]) == 0
    print((peak_bytes() - before) / weights.stat().st_size)
"""


@pytest.mark.slow
def test_an_export_in_all_precisions_takes_at_most_five_times_the_weights(
    photo: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PEAK, str(tmp_path / "r50.safetensors"), str(photo)]
    for _ in ("make the weights", "export them"):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 1 < float(done.stdout.splitlines()[-1]) <= 5
