"""What FP16 cannot hold stays FP32, chosen by what a network reaches on an image, and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from graphs import agreement, nodes, run, tensors, types_of
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.fp16_range import (
    Peaks,
    convolution_peaks,
    kept_in_fp32,
    measure_peaks,
    peaks_from_ranges,
)
from export.int8.calibration import collect_ranges
from export.to_fp16 import half, to_fp16
from export.to_onnx import save
from export.verify.fp16_emulation import rounded_to_fp16
from refinenet.activation_ranges import Ranges
from runtime.card import Card, read_card
from runtime.errors import InputError

SHAPE = (1, 24, 32, 3)


def network(first: float, second: float, inner: float = 0.0) -> onnx.ModelProto:
    """Frame, three convolutions with a ReLU between, ArgMax over 4 classes.

    first scales the first convolution, second undoes it; inner is added to one weight of the first
    and taken off another, which read the same: only a partial sum knows of it.
    """
    rng = np.random.default_rng(0)
    weights = {
        "first": first * rng.normal(0, 0.05, (8, 6, 3, 3)),
        "second": second * rng.normal(0, 0.3, (8, 8, 1, 1)),
        "third": rng.normal(0, 0.3, (4, 8, 1, 1)),
    }
    weights["first"][0, 0] += inner
    weights["first"][0, 3] -= inner
    steps = [
        ("Cast", ["frames"], "floats", {"to": TensorProto.FLOAT}),
        ("Transpose", ["floats"], "planes", {"perm": [0, 3, 1, 2]}),
        ("Concat", ["planes", "planes"], "doubled", {"axis": 1}),
        ("Conv", ["doubled", "first"], "large", {"pads": [1, 1, 1, 1]}),
        ("Relu", ["large"], "positive", {}),
        ("Conv", ["positive", "second"], "small", {}),
        ("Conv", ["small", "third"], "scores", {}),
        ("ArgMax", ["scores"], "classes", {"axis": 1, "keepdims": 0}),
        ("Cast", ["classes"], "rounded", {"to": TensorProto.FLOAT}),
        ("Cast", ["rounded"], "masks", {"to": TensorProto.UINT8}),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, read, [out], out, **options) for kind, read, out, options in steps],
        "network",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, SHAPE)],
        [helper.make_tensor_value_info("masks", TensorProto.UINT8, SHAPE[:3])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


@pytest.fixture
def tiny_card() -> Card:
    return Card("tiny", tuple("abcd"), ((0, 0, 0),) * 4, input_shape=SHAPE, output_kind="mask")


@pytest.fixture
def frame(photo_frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(photo_frame[None, ::18, ::20][:, :24])


def peaks_of(model: onnx.ModelProto, card: Card, photo: Path) -> Peaks:
    with TemporaryDirectory() as folder:
        path = Path(folder, "tiny.fp32.onnx")
        save(copy_of(model), path, card)
        return measure_peaks(path, [photo], quiet=True)


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(model.SerializeToString())


def test_an_overflow_stays_fp32_and_the_mask_stays_right(
    tiny_card: Card, photo: Path, frame: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = network(first=2e4, second=1e-4)
    save(model, tmp_path / "tiny.fp32.onnx", tiny_card)
    mask = run(model, frame)
    assert len(np.unique(mask)) > 1
    blind = rounded_to_fp16(half(copy_of(model)))
    assert agreement(run(blind, frame), mask) < 0.9, "the overflow must cost the mask"
    path = to_fp16(
        tmp_path / "tiny.fp32.onnx",
        tmp_path / "tiny.fp16.onnx",
        peaks_of(model, tiny_card, photo),
    )
    careful = onnx.load(path)
    assert agreement(run(rounded_to_fp16(careful), frame), mask) > 0.99
    kept = {e["node"]: e["reason"] for e in read_card(path).details["fp16"]["kept_in_fp32"]}
    assert kept.keys() == {"large", "positive", "small"}
    assert " large " in kept["large"]
    assert " 65504;" in kept["large"]


def test_nothing_passes_through_fp16_between_kept_nodes(tiny_card: Card, photo: Path) -> None:
    model = network(first=2e4, second=1e-4)
    kept = kept_in_fp32(model, peaks_of(model, tiny_card, photo))
    careful = onnx.shape_inference.infer_shapes(half(copy_of(model), kept))
    types = {v.name: types_of([v])[0] for v in careful.graph.value_info}
    assert {types[name] for name in ("large", "positive", "small")} == {TensorProto.FLOAT}
    assert {types[name] for name in ("planes", "scores")} == {TensorProto.FLOAT16}
    casts = [(node.input[0], node.output[0]) for node in nodes(careful, "Cast")]
    assert ("doubled", "doubled_fp32") in casts
    assert ("small", "small_fp16") in casts
    assert {name: v.dtype for name, v in tensors(careful).items()} == {
        "third": np.float16,
        "first_fp32": np.float32,
        "second_fp32": np.float32,
    }


def test_a_partial_sum_beyond_fp16_is_seen_though_the_output_fits(
    tiny_card: Card, photo: Path
) -> None:
    model = network(first=1, second=1, inner=400)
    peaks = peaks_of(model, tiny_card, photo)
    assert peaks.tensors["large"] < 1e4
    assert peaks.sums["large"] > 65504
    kept = kept_in_fp32(model, peaks)
    assert kept.keys() == {"large"}
    assert kept["large"].startswith("partial sums can reach ")


def test_what_is_too_small_for_fp16_stays_fp32(
    tiny_card: Card, photo: Path, frame: NDArray[np.uint8]
) -> None:
    model = network(first=1e-9, second=1e8)
    kept = kept_in_fp32(model, peaks_of(model, tiny_card, photo))
    assert {"large", "positive", "small"} <= kept.keys()
    assert "where FP16 loses its digits" in kept["positive"]
    mask = run(model, frame)
    assert agreement(run(rounded_to_fp16(half(copy_of(model), kept)), frame), mask) > 0.99
    assert agreement(run(rounded_to_fp16(half(copy_of(model))), frame), mask) < 0.9


def test_a_network_that_fits_keeps_nothing(tiny_card: Card, photo: Path) -> None:
    model = network(first=1, second=1)
    assert kept_in_fp32(model, peaks_of(model, tiny_card, photo)) == {}


def test_a_kept_constant_node_gives_a_graph_that_runs(
    tiny_card: Card, photo: Path, frame: NDArray[np.uint8]
) -> None:
    model = network(first=2e4, second=1e-4)
    for tensor in list(model.graph.initializer):
        constant = helper.make_node("Constant", [], [tensor.name], tensor.name, value=tensor)
        model.graph.node.insert(0, constant)
    del model.graph.initializer[:]
    kept = kept_in_fp32(model, peaks_of(model, tiny_card, photo))
    assert "large" in kept
    careful = half(copy_of(model), {*kept, "first"})
    assert agreement(run(rounded_to_fp16(careful), frame), run(model, frame)) > 0.99


def test_nan_is_not_passed_over(tiny_card: Card, photo: Path) -> None:
    model = network(first=1, second=1)
    place = next(i for i, node in enumerate(model.graph.node) if node.output[0] == "small")
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "zero"))
    model.graph.node[place].output[0] = "sound"
    zeros = helper.make_node("Mul", ["positive", "zero"], ["zeros"])
    nan = helper.make_node("Div", ["zeros", "positive"], ["small"])  # where ReLU left zeros
    model.graph.node.insert(place + 1, nan)
    model.graph.node.insert(place + 1, zeros)
    with pytest.raises(InputError, match="small is not finite, in FP32 already"):
        peaks_of(model, tiny_card, photo)


def test_saved_ranges_carry_the_peaks_of_convolutions(tiny_card: Card, photo: Path) -> None:
    model = network(first=2e4, second=1e-4)
    measured = peaks_of(model, tiny_card, photo)
    ranges = Ranges("max", "demo", 1, "", {}, (), convolution_peaks(model, measured))
    assert kept_in_fp32(model, peaks_from_ranges(model, ranges)) == kept_in_fp32(model, measured)


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to], ids=["symbolic", "hard"])
def test_a_link_to_a_file_is_measured_like_the_file(
    link: Callable[[Path, Path], None], tiny_card: Card, photo: Path, tmp_path: Path
) -> None:
    path, other = tmp_path / "tiny.fp32.onnx", tmp_path / "links" / "tiny.fp32.onnx"
    model = network(first=1, second=1)
    save(copy_of(model), path, tiny_card)
    other.parent.mkdir()
    link(other, path)
    assert measure_peaks(other, [photo], quiet=True) == peaks_of(model, tiny_card, photo)
    collect_ranges(other, [photo], quiet=True)


def test_headroom_is_left_for_images_that_reach_higher() -> None:
    model = network(first=1, second=1)
    assert kept_in_fp32(model, Peaks({"small": 30000}, {}, 1)) == {}
    assert kept_in_fp32(model, Peaks({"small": 40000}, {}, 1)).keys() == {"small", "scores"}
