"""Activation ranges: measured on images, kept by the names of weights, read back with distrust."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from graphs import run, tensors
from numpy.typing import NDArray

from export.int8.calibration import collect_ranges, convolution_inputs, frame_batch
from export.int8.histograms import Method
from export.to_int8 import to_int8
from refinenet.activation_ranges import (
    Ranges,
    load_ranges,
    save_ranges,
    shipped_ranges,
)
from runtime.card import Card
from runtime.errors import InputError


@pytest.fixture(scope="session")
def fp32(exported: Path) -> Path:
    return exported / "street.fp32.onnx"


@pytest.fixture(scope="session")
def images(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The photo, and its left half."""
    half = tmp_path_factory.mktemp("images") / "half.png"
    cv2.imwrite(str(half), cv2.imread(str(photo))[:, :320])
    return [photo, half]


@pytest.fixture(scope="session")
def ranges(fp32: Path, images: list[Path]) -> Ranges:
    return collect_ranges(fp32, images, quiet=True)


def test_every_convolution_has_a_range_under_the_name_of_its_weight(
    ranges: Ranges, fp32: Path
) -> None:
    assert ranges.limits.keys() == convolution_inputs(onnx.load(fp32)).keys()
    assert ranges.limits.keys() <= tensors(onnx.load(fp32)).keys()
    assert all(name.startswith("network.") and name.endswith(".weight") for name in ranges.limits)
    assert all(0 < limit < 1e3 for limit in ranges.limits.values())


def test_a_convolution_that_is_called_twice_has_the_larger_range_of_both(
    fp32: Path, photo: Path, tmp_path: Path
) -> None:
    """As at the scales of DeepLab-v2: the last call must not decide alone."""
    model = onnx.load(fp32)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    alone = collect_ranges(fp32, [photo], Method("max"), quiet=True).limits[first.input[1]]
    for name, factor in (("smaller", 0.5), ("larger", 3.0)):
        twice = onnx.ModelProto()
        twice.CopyFrom(model)
        constant = onnx.numpy_helper.from_array(np.array(factor, np.float32), "factor")
        twice.graph.initializer.append(constant)
        again = onnx.NodeProto()
        again.CopyFrom(first)
        again.name, again.input[0], again.output[0] = "again", "scaled", "called_again"
        scaled = onnx.helper.make_node("Mul", [first.input[0], "factor"], ["scaled"])
        place = list(twice.graph.node).index(first)
        twice.graph.node.insert(place + 1, again)
        twice.graph.node.insert(place + 1, scaled)
        onnx.save(twice, tmp_path / f"{name}.onnx")
        shutil.copy(f"{fp32}.card.json", tmp_path / f"{name}.onnx.card.json")
        found = collect_ranges(tmp_path / f"{name}.onnx", [photo], Method("max"), quiet=True)
        assert found.limits[first.input[1]] == pytest.approx(alone * max(1, factor))


def test_the_range_of_the_first_convolution_is_that_of_the_normalized_photo(
    fp32: Path, photo: Path
) -> None:
    limits = collect_ranges(fp32, [photo], Method("max"), quiet=True).limits
    white_blue = (1 - 0.406) / 0.225  # the largest value that normalization can give
    assert limits["network.backbone.stem.0.weight"] == pytest.approx(white_blue, abs=0.1)


def test_the_largest_value_is_never_below_the_percentile(
    ranges: Ranges, fp32: Path, images: list[Path]
) -> None:
    largest = collect_ranges(fp32, images, Method("max"), quiet=True)
    assert all(largest.limits[name] >= limit for name, limit in ranges.limits.items())
    assert any(largest.limits[name] > limit for name, limit in ranges.limits.items())
    assert (ranges.method, largest.method) == ("percentile-99.99", "max")


def test_the_same_images_give_the_same_ranges(
    ranges: Ranges, fp32: Path, images: list[Path]
) -> None:
    assert collect_ranges(fp32, images, quiet=True) == ranges


def test_other_images_give_other_ranges(ranges: Ranges, fp32: Path, images: list[Path]) -> None:
    other = collect_ranges(fp32, images[1:], quiet=True)
    assert other.limits != ranges.limits
    assert other.images_sha256 != ranges.images_sha256
    assert (other.image_count, ranges.image_count) == (1, 2)


def test_ranges_come_back_from_their_file(ranges: Ranges, tmp_path: Path) -> None:
    save_ranges(ranges, tmp_path / "street.ranges.json")
    assert load_ranges(tmp_path / "street.ranges.json") == ranges


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -0.5, "wide", None, [1]])
def test_a_range_that_is_none_is_refused(limit: object, ranges: Ranges, tmp_path: Path) -> None:
    path = tmp_path / "street.ranges.json"
    save_ranges(ranges, path)
    content = json.loads(path.read_text())
    content["limits"]["network.classifier.0.weight"] = limit
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"street\.ranges\.json"):
        load_ranges(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"limits": 3}', '{"limits": {}}', '{"ranges": {}}', "\xff"]
)
def test_a_file_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "street.ranges.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"street\.ranges\.json"):
        load_ranges(path)


def test_ranges_of_before_peaks_and_names_are_still_read(ranges: Ranges, tmp_path: Path) -> None:
    path = tmp_path / "street.ranges.json"
    save_ranges(ranges, path)
    content = json.loads(path.read_text())
    del content["peaks"], content["image_names"]
    path.write_text(json.dumps(content))
    assert load_ranges(path).limits == ranges.limits
    assert load_ranges(path).peaks == {}


def test_the_images_are_kept_by_name(ranges: Ranges, fp32: Path, photo: Path) -> None:
    alone = collect_ranges(fp32, [photo], quiet=True)
    assert (alone.images.rpartition("/")[2], alone.image_names) == ("demo", ("china.jpg",))
    assert [Path(name).name for name in ranges.image_names] == ["china.jpg", "half.png"]


def test_a_fixed_batch_holds_the_image_in_every_place(photo: Path, card: Card) -> None:
    frames = frame_batch(photo, replace(card, input_shape=(3, 64, 96, 3)))
    assert frames.shape == (3, 64, 96, 3)
    assert (frames == frames[0]).all()


def test_no_images_are_refused(fp32: Path) -> None:
    with pytest.raises(InputError, match="no images to calibrate on"):
        collect_ranges(fp32, [])


def test_an_image_that_cannot_be_read_is_refused(fp32: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        collect_ranges(fp32, [tmp_path / "broken.jpg"], quiet=True)


def test_ranges_of_one_size_serve_another(
    ranges: Ranges, dynamic: Path, tmp_path: Path, photo_frame: NDArray[np.uint8]
) -> None:
    fp32 = Path(shutil.copy(dynamic, tmp_path))
    frames = photo_frame[None, :200, :300]
    int8 = to_int8(fp32, tmp_path / "street.int8.onnx", ranges)
    assert np.mean(run(int8, frames) == run(fp32, frames)) > 0.95


def test_ranges_that_ship_lie_beside_the_weights(weights: Path, exported: Path) -> None:
    ranges = load_ranges(shipped_ranges(weights))
    fp32 = onnx.load(exported / "street.fp32.onnx")
    assert ranges.limits.keys() == convolution_inputs(fp32).keys()
    # Training images alone: those of val are for the results.
    assert (ranges.images, ranges.image_count) == ("camvid/images/train", 367)
