"""FP32 ONNX to INT8 ONNX: which convolutions, in which form, and how near the masks stay."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import agreement, edit, nodes, quantizable, readers, run, set_tensor, tensors, types_of
from numpy.typing import NDArray
from onnx import TensorProto

from export.int8.calibration import collect_ranges
from export.to_int8 import Selection, to_int8
from export.verify.stages import OnnxStage
from refinenet.activation_ranges import Ranges, load_ranges
from runtime.card import read_card
from runtime.errors import InputError
from runtime.files import sha256_of

Frame = NDArray[np.uint8]


@pytest.fixture(scope="session")
def fp32(exported: Path) -> onnx.ModelProto:
    return onnx.load(exported / "street.fp32.onnx")


@pytest.fixture(scope="session")
def int8(exported: Path) -> onnx.ModelProto:
    return onnx.load(exported / "street.int8.onnx")


@pytest.fixture(scope="session")
def ranges(exported: Path) -> Ranges:
    return load_ranges(exported / "street.ranges.json")


def quantized(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The convolutions that read an INT8 weight, by its name."""
    suffix = "_dequantized"
    return {
        node.input[1].removesuffix(suffix): node
        for node in nodes(model, "Conv")
        if node.input[1].endswith(suffix)
    }


def producer(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    (node,) = (node for node in model.graph.node if tensor in node.output)
    return node


def test_narrow_and_depthwise_convolutions_and_the_last_stay_fp16(
    int8: onnx.ModelProto, fp32: onnx.ModelProto
) -> None:
    weights = tensors(fp32)
    names = [node.input[1] for node in nodes(fp32, "Conv")]
    wide = {name for name in names[:-1] if weights[name].shape[1] >= 64}
    assert quantized(int8).keys() == wide
    depthwise = {name for name in names if "depthwise" in name}
    assert depthwise
    assert not wide & {names[0], names[-1], *depthwise}
    # Enough input channels, so it is its place alone that keeps the classifier out.
    assert weights[names[-1]].shape[1] >= 64


def test_everything_else_is_fp16(int8: onnx.ModelProto) -> None:
    assert {v.dtype for v in tensors(int8).values()} == {
        np.dtype(np.float16),
        np.dtype(np.int8),
        np.dtype(np.int64),  # sizes of Resize, channels of Gather
    }
    assert types_of(int8.graph.input) == types_of(int8.graph.output) == [TensorProto.UINT8]


@pytest.fixture(scope="session")
def for_tensorrt(exported: Path, ranges: Ranges, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The INT8 file for TensorRT. Read only."""
    path = tmp_path_factory.mktemp("tensorrt") / "street.int8.onnx"
    return to_int8(exported / "street.fp32.onnx", path, ranges, int8_for="tensorrt")


@pytest.mark.parametrize("runtime", ["rtx", "tensorrt"])
def test_weights_have_one_scale_for_rtx_and_one_per_output_channel_for_tensorrt(
    runtime: str, int8: onnx.ModelProto, for_tensorrt: Path
) -> None:
    model = int8 if runtime == "rtx" else onnx.load(for_tensorrt)
    constants = tensors(model)
    assert len(quantized(model)) == 49
    for name, conv in quantized(model).items():
        pair = producer(model, conv.input[1])
        assert pair.op_type == "DequantizeLinear"
        integers, scale, zero_point = (constants[entry] for entry in pair.input)
        assert integers.dtype == np.int8, name
        axes = [a.i for a in pair.attribute if a.name == "axis"]
        expected = ((), []) if runtime == "rtx" else ((integers.shape[0],), [0])
        assert (scale.shape, axes) == expected, name
        assert zero_point.shape == scale.shape


def test_a_layer_whose_channels_differ_too_much_keeps_a_scale_for_each(
    folder: Path, ranges: Ranges
) -> None:
    name, other = list(quantized(onnx.load(folder / "street.int8.onnx")))[:2]

    def spread_the_channels(model: onnx.ModelProto) -> None:
        values = tensors(model)[name].copy()
        # As folded batch norms may leave them: a factor of a hundred from channel to channel.
        factors = np.logspace(-2, 0, len(values), dtype=np.float32)
        set_tensor(model, name, values * factors[:, None, None, None])

    edit(folder / "street.fp32.onnx", spread_the_channels)
    path = to_int8(folder / "street.fp32.onnx", folder / "street.int8.onnx", ranges)
    constants = tensors(onnx.load(path))
    assert constants[f"{name}_scale"].shape == (len(constants[f"{name}_int8"]),)
    assert constants[f"{other}_scale"].shape == ()
    calibration = read_card(path).details["calibration"]
    assert calibration["scale_per_channel"].keys() == {name}
    assert calibration["int8_for"] == "rtx"


def test_the_card_of_a_file_for_tensorrt_says_so(for_tensorrt: Path) -> None:
    calibration = read_card(for_tensorrt).details["calibration"]
    assert (calibration["int8_for"], calibration["scale_per_channel"]) == ("tensorrt", {})


def test_masks_of_both_are_those_of_fp32(
    exported: Path, for_tensorrt: Path, streets: list[Frame]
) -> None:
    for path in (for_tensorrt, exported / "street.int8.onnx"):
        stage = OnnxStage(path)
        shares = [
            agreement(stage(frames).mask, run(exported / "street.fp32.onnx", frames)[0])
            for frames in streets
        ]
        assert np.mean(shares) >= 0.97, path  # calibrated on one photo alone


def test_activations_are_per_tensor(int8: onnx.ModelProto) -> None:
    constants = tensors(int8)
    pairs = nodes(int8, "QuantizeLinear")
    assert pairs
    for pair in pairs:
        assert constants[pair.input[1]].shape == constants[pair.input[2]].shape == ()
        (back,) = readers(int8, pair.output[0])
        assert back.op_type == "DequantizeLinear"
        assert back.input[1:] == pair.input[1:]


def test_every_zero_point_is_zero(int8: onnx.ModelProto) -> None:
    constants = tensors(int8)
    pairs = nodes(int8, "QuantizeLinear") + nodes(int8, "DequantizeLinear")
    zero_points = [constants[pair.input[2]] for pair in pairs]
    assert all(values.dtype == np.int8 and not values.any() for values in zero_points)


def test_a_shared_input_is_quantized_once(int8: onnx.ModelProto, fp32: onnx.ModelProto) -> None:
    inputs = Counter(layer.input[0] for layer in quantizable(fp32))
    shared = [name for name, count in inputs.items() if count > 1]
    assert shared
    once = Counter(pair.input[0] for pair in nodes(int8, "QuantizeLinear"))
    assert once == dict.fromkeys(inputs, 1)


def test_biases_are_not_quantized(int8: onnx.ModelProto) -> None:
    constants = tensors(int8)
    biases = [conv.input[2] for conv in quantized(int8).values() if len(conv.input) > 2]
    assert biases
    assert {constants[name].dtype for name in biases} == {np.dtype(np.float16)}


def test_nothing_stands_between_a_convolution_and_its_relu(
    int8: onnx.ModelProto, fp32: onnx.ModelProto
) -> None:
    fused = [
        layer.output[0]
        for layer in quantizable(fp32)
        if [node.op_type for node in readers(fp32, layer.output[0])] == ["Clip"]
    ]
    assert fused
    for output in fused:
        assert [node.op_type for node in readers(int8, output)] == ["Clip"]


def test_dequantized_weights_are_within_half_a_step(
    int8: onnx.ModelProto, fp32: onnx.ModelProto
) -> None:
    originals, constants = tensors(fp32), tensors(int8)
    for name, conv in quantized(int8).items():
        integers, scale, _ = (constants[n] for n in producer(int8, conv.input[1]).input)
        step = scale.astype(np.float32)
        error = np.abs(integers * step - originals[name])
        assert (error <= 0.5001 * step).all(), name
        assert np.abs(integers.astype(int)).max() == 127


def test_a_channel_of_tiny_weights_is_not_clipped(folder: Path, ranges: Ranges) -> None:
    name = next(iter(quantized(onnx.load(folder / "street.int8.onnx"))))

    def shrink_a_channel(model: onnx.ModelProto) -> None:
        values = tensors(model)[name].copy()
        values[0] *= 1e-5 / np.abs(values[0]).max()  # steps of 1.3 units of FP16
        set_tensor(model, name, values)

    edit(folder / "street.fp32.onnx", shrink_a_channel)
    fp32 = folder / "street.fp32.onnx"
    to_int8(fp32, folder / "street.int8.onnx", ranges, int8_for="tensorrt")
    originals = tensors(onnx.load(fp32))
    constants = tensors(onnx.load(folder / "street.int8.onnx"))
    step = float(constants[f"{name}_scale"][0])
    error = np.abs(constants[f"{name}_int8"][0] * step - originals[name][0])
    assert error.max() <= 0.5001 * step


def test_scales_are_the_ranges_in_127_steps(int8: onnx.ModelProto, ranges: Ranges) -> None:
    constants = tensors(int8)
    for name, conv in quantized(int8).items():
        scale = constants[producer(int8, conv.input[0]).input[1]]
        assert float(scale) == pytest.approx(ranges.limits[name] / 127, rel=1e-3)


def test_ranges_of_another_network_are_refused(
    exported: Path, ranges: Ranges, tmp_path: Path
) -> None:
    strange = replace(ranges, limits={f"resnet.{k}": v for k, v in ranges.limits.items()})
    with pytest.raises(InputError, match=r" 49 of 49 "):
        to_int8(exported / "street.fp32.onnx", tmp_path / "street.int8.onnx", strange)
    assert not list(tmp_path.iterdir())


def test_ranges_of_some_layers_alone_are_not_called_another_networks(
    exported: Path, ranges: Ranges, tmp_path: Path
) -> None:
    (name, _), *others = ranges.limits.items()
    with pytest.raises(InputError, match=rf" 1 of \d+ .* {re.escape(name)}"):
        to_int8(
            exported / "street.fp32.onnx",
            tmp_path / "street.int8.onnx",
            replace(ranges, limits=dict(others)),
            selection=Selection({}),
        )


def test_a_range_beyond_fp16_is_refused(exported: Path, ranges: Ranges, tmp_path: Path) -> None:
    vast = replace(ranges, limits=dict.fromkeys(ranges.limits, 1e9))
    with pytest.raises(InputError, match="a range of 1e\\+09 needs steps beyond FP16"):
        to_int8(exported / "street.fp32.onnx", tmp_path / "street.int8.onnx", vast)
    assert not list(tmp_path.iterdir())


def test_a_range_of_nothing_and_a_channel_of_zeros_give_no_zero_step(
    folder: Path, ranges: Ranges
) -> None:
    name = next(iter(quantized(onnx.load(folder / "street.int8.onnx"))))

    def empty_a_channel(model: onnx.ModelProto) -> None:
        values = tensors(model)[name].copy()
        values[0] = 0
        set_tensor(model, name, values)

    edit(folder / "street.fp32.onnx", empty_a_channel)
    still = replace(ranges, limits={**ranges.limits, name: 0.0})
    int8 = onnx.load(to_int8(folder / "street.fp32.onnx", folder / "street.int8.onnx", still))
    scales = [v for key, v in tensors(int8).items() if key.endswith("_scale")]
    assert all((values > 0).all() for values in scales)


def test_the_card_says_what_it_was_calibrated_on(exported: Path, ranges: Ranges) -> None:
    card = read_card(exported / "street.int8.onnx")
    assert card.precision == "int8"
    assert card.parents == {"fp32.onnx": sha256_of(exported / "street.fp32.onnx")}
    calibration = card.details["calibration"]
    kept = {"method", "images", "image_count", "images_sha256"}
    assert {name: calibration[name] for name in kept} == {
        "method": "percentile-99.99",
        "images": ranges.images,
        "image_count": 1,
        "images_sha256": ranges.images_sha256,
    }
    assert calibration["image_names"] == ["china.jpg"]
    assert calibration["quantized_convolutions"] == len(calibration["ranges"]) == 49
    assert calibration["ranges"].items() <= ranges.limits.items()


def test_the_card_says_why_a_convolution_is_not_int8(exported: Path, int8: onnx.ModelProto) -> None:
    left = read_card(exported / "street.int8.onnx").details["calibration"]["left_in_fp16"]
    assert left.keys() == {n.input[1] for n in nodes(int8, "Conv")} - {
        f"{name}_dequantized" for name in quantized(int8)
    }
    assert "draws the class borders" in left["network.classifier.0.weight"]
    assert "input channels" in left["network.backbone.stem.0.weight"]
    assert "depthwise" in left["network.backbone.stages.6.0.depthwise.0.weight"]


def test_the_masks_are_those_of_fp32(
    exported: Path, training_images: list[Path], streets: list[Frame], tmp_path: Path
) -> None:
    fp32 = exported / "street.fp32.onnx"
    ranges = collect_ranges(fp32, training_images, quiet=True)
    int8 = OnnxStage(to_int8(fp32, tmp_path / "street.int8.onnx", ranges))
    shares = [agreement(int8(frames).mask, run(fp32, frames)[0]) for frames in streets]
    assert np.mean(shares) >= 0.98


def test_ranges_that_are_too_narrow_cost_the_masks(
    exported: Path, ranges: Ranges, tmp_path: Path, small_photo: Frame
) -> None:
    fp32 = exported / "street.fp32.onnx"
    narrow = replace(ranges, limits={k: v / 30 for k, v in ranges.limits.items()})
    int8 = OnnxStage(to_int8(fp32, tmp_path / "street.int8.onnx", narrow))
    assert agreement(int8(small_photo).mask, run(fp32, small_photo)[0]) < 0.98
