"""Weights to FP32 ONNX: a plain graph, frame in and mask out, which says what PyTorch says."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from graphs import agreement, nodes, run, types_of
from graphs import exported as graph_of
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn
from torch.nn import functional as F

import export.to_onnx as to_onnx_module
from export.frame_model import FrameModel
from export.to_onnx import OnnxOptions, logits_bytes, save, to_onnx
from refinenet import create_model
from refinenet.checkpoints.load import published_card, save_checkpoint
from refinenet.data.network_input import to_input
from runtime.card import CARD_KEY, Card, read_card, read_sidecar
from runtime.errors import CardError, CheckpointError, InputError
from runtime.files import sha256_of
from runtime.normalization import IMAGENET

Frame = NDArray[np.uint8]


class TinyNetwork(nn.Module):
    """Image to scores of 1/4 the size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 5, 3, 4, 1), nn.BatchNorm2d(5), nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.layers(image)
        return scores


@pytest.fixture(scope="session")
def fp32(exported: Path) -> Path:
    return exported / "street.fp32.onnx"


@pytest.fixture(scope="session")
def graph(fp32: Path) -> onnx.ModelProto:
    return onnx.load(fp32)


def masks_of(network: nn.Module, card: Card, frames: Frame) -> Frame:
    with torch.inference_mode():
        return np.asarray(FrameModel(network, card).eval()(torch.from_numpy(frames)).numpy())


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def test_a_size_that_leaves_u_net_nothing_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "unet.safetensors"
    card = published_card("unet", 2)
    save_checkpoint(weights, create_model("unet", 2), card)
    with pytest.raises(InputError, match="size 8x64; unet needs at least 16x16"):
        to_onnx(weights, tmp_path / "unet.onnx", OnnxOptions(size=(8, 64)))
    assert not (tmp_path / "unet.onnx").exists()


def test_the_static_graph_is_plain(graph: onnx.ModelProto) -> None:
    assert operators(graph) == {
        *("Cast", "Transpose", "Gather", "Sub", "Mul"),  # frame to image
        *("Conv", "Clip", "Add", "MaxPool", "Resize"),  # the network
        "ArgMax",
    }


def test_no_size_is_computed_while_a_static_graph_runs(graph: onnx.ModelProto) -> None:
    assert not operators(graph) & {"Shape", "Size", "Concat", "Reshape", "Range", "ConstantOfShape"}
    assert [list(node.input) for node in nodes(graph, "Gather")] == [["permute", "val_2"]]


def test_the_check_of_operators_sees_a_batch_norm() -> None:
    node = onnx.helper.make_node("BatchNormalization", list("xsbmv"), ["y"])
    assert operators(onnx.ModelProto(graph=onnx.GraphProto(node=[node]))) == {"BatchNormalization"}


def test_opset_and_ir_version_are_what_tensorrt_10_3_reads(graph: onnx.ModelProto) -> None:
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 19)]
    assert graph.ir_version <= 10
    assert not graph.functions


def test_frames_and_masks_are_uint8_and_cast_comes_first(graph: onnx.ModelProto) -> None:
    assert types_of(graph.graph.input) == types_of(graph.graph.output) == [TensorProto.UINT8]
    first = graph.graph.node[0]
    assert (first.op_type, list(first.input)) == ("Cast", ["frames"])
    assert sum("frames" in node.input for node in graph.graph.node) == 1


def test_the_file_quotes_no_source(fp32: Path) -> None:
    content = fp32.read_bytes()
    assert b"stack_trace" not in content
    assert b"pkg.torch" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_the_card_inside_is_the_one_beside(fp32: Path, graph: onnx.ModelProto) -> None:
    (entry,) = graph.metadata_props
    assert entry.key == CARD_KEY
    sidecar = read_sidecar(fp32)
    assert sidecar is not None
    assert json.loads(entry.value) == json.loads(sidecar.card.to_json())
    assert sidecar.sha256 == sha256_of(fp32)
    assert sidecar.size_bytes == fp32.stat().st_size


def test_the_card_says_what_the_file_is_and_came_from(
    fp32: Path, weights: Path, card: Card
) -> None:
    told = read_card(fp32)
    assert (told.precision, told.channel_order, told.output_kind) == ("fp32", "BGR", "mask")
    assert told.input_shape == (1, 120, 160, 3)
    assert told.parents == {"weights": sha256_of(weights)}
    assert (told.classes, told.mean) == (card.classes, card.mean)
    assert told.details == {**card.details, "classifiers": ["network.classifier.0.weight"]}


def test_a_card_that_contradicts_its_file_is_refused(folder: Path) -> None:
    path = folder / "street.fp32.onnx"
    sidecar = path.with_name(path.name + ".card.json")
    sidecar.write_text(sidecar.read_text().replace('"stretch"', '"letterbox"'))
    with pytest.raises(CardError, match="contradicts the card inside"):
        read_card(path)


def test_the_masks_are_pytorchs(
    fp32: Path, network: nn.Module, card: Card, streets: list[Frame], small_photo: Frame
) -> None:
    for frames in (*streets, small_photo):
        assert agreement(run(fp32, frames), masks_of(network, card, frames)) >= 0.9999


def test_the_comparison_sees_another_frame(fp32: Path, streets: list[Frame]) -> None:
    assert agreement(run(fp32, streets[0]), run(fp32, streets[0][:, :, ::-1].copy())) < 0.9999


@pytest.mark.parametrize(("batch", "size"), [(1, (96, 128)), (2, (67, 101)), (1, (33, 200))])
def test_a_dynamic_graph_takes_any_batch_and_size(
    batch: int,
    size: tuple[int, int],
    dynamic: Path,
    network: nn.Module,
    card: Card,
    photo_frame: Frame,
) -> None:
    small = cv2.resize(photo_frame, size[::-1], interpolation=cv2.INTER_AREA)
    frames = np.ascontiguousarray(np.stack([small, small[:, ::-1]])[:batch])
    masks = run(dynamic, frames)
    assert masks.shape == (batch, *size)
    assert agreement(masks, masks_of(network, card, frames)) >= 0.9999


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "size"), [(1, (1024, 2048)), (3, (131, 203))])
def test_the_masks_are_pytorchs_at_full_hd_scale_and_in_static_batches(
    batch: int,
    size: tuple[int, int],
    weights: Path,
    network: nn.Module,
    card: Card,
    photo_frame: Frame,
    tmp_path: Path,
) -> None:
    path = to_onnx(weights, tmp_path / "street.fp32.onnx", OnnxOptions(size, batch))
    photo = cv2.resize(photo_frame, size[::-1], interpolation=cv2.INTER_CUBIC)
    frames = np.ascontiguousarray(np.stack([photo, photo[:, ::-1], photo[::-1]])[:batch])
    masks = run(path, frames)
    assert masks.shape == (batch, *size)
    assert len(np.unique(masks)) > 3
    assert agreement(masks, masks_of(network, card, frames)) >= 0.9999


def test_a_static_graph_takes_its_own_size_alone(fp32: Path, photo_frame: Frame) -> None:
    with pytest.raises(Exception, match="Got invalid dimensions"):
        run(fp32, photo_frame[None])


def test_the_card_of_a_dynamic_graph_names_no_size(dynamic: Path) -> None:
    assert read_card(dynamic).input_shape == (None, None, None, 3)
    assert read_card(dynamic).frame_size is None


@pytest.fixture(scope="session")
def tiny_scores(card: Card) -> tuple[FrameModel, onnx.ModelProto]:
    """A tiny network that gives scores, and its graph."""
    model = FrameModel(TinyNetwork(), card, "logits").eval()
    return model, graph_of(model, OnnxOptions((120, 160), output_kind="logits"))


def test_scores_come_out_at_the_size_of_the_frame(
    tiny_scores: tuple[FrameModel, onnx.ModelProto], small_photo: Frame
) -> None:
    model, graph = tiny_scores
    assert [output.name for output in graph.graph.output] == ["logits"]
    assert types_of(graph.graph.output) == [TensorProto.FLOAT]
    with torch.inference_mode():
        expected = model(torch.from_numpy(small_photo)).numpy()
    assert expected.shape == (1, 5, 120, 160)
    np.testing.assert_allclose(run(graph, small_photo), expected, atol=1e-4)


def test_the_upsampling_of_scores_is_bilinear(
    tiny_scores: tuple[FrameModel, onnx.ModelProto], small_photo: Frame
) -> None:
    model, graph = tiny_scores
    with torch.inference_mode():
        scores = model.network(to_input(small_photo[0], IMAGENET)[None])
    bilinear, nearest = (
        F.interpolate(scores, (120, 160), mode=mode).numpy() for mode in ("bilinear", "nearest")
    )
    np.testing.assert_allclose(run(graph, small_photo), bilinear, atol=1e-4)
    assert np.abs(run(graph, small_photo) - nearest).max() > 1e-2


def test_the_memory_of_the_scores_is_foretold(card: Card) -> None:
    options = OnnxOptions((1080, 1920), batch=4)
    assert logits_bytes(card, options) == 4 * 4 * len(card.classes) * 1080 * 1920


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.safetensors"
    nonsense.write_bytes(b"\xff" * 4096)
    with pytest.raises((CheckpointError, CardError), match=r"nonsense\.safetensors"):
        to_onnx(nonsense, tmp_path / "out.fp32.onnx", OnnxOptions((120, 160)))
    assert list(tmp_path.iterdir()) == [nonsense]


def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, network: nn.Module, card: Card
) -> None:
    path, weight = tmp_path / "diverged.safetensors", network.get_parameter("classifier.0.bias")
    kept = weight.detach().clone()
    try:
        weight.data[3] = torch.nan
        save_checkpoint(path, network, card)
    finally:
        weight.data[:] = kept
    with pytest.raises(InputError, match=r"classifier\.0\.bias is not finite"):
        to_onnx(path, tmp_path / "out.fp32.onnx", OnnxOptions((120, 160)))
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_to_is_an_input_error(
    graph: onnx.ModelProto, card: Card, tmp_path: Path
) -> None:
    (tmp_path / "street.fp32.onnx").mkdir()
    with pytest.raises(InputError, match=r"street\.fp32\.onnx"):
        save(graph, tmp_path / "street.fp32.onnx", card)
    assert [path.name for path in tmp_path.iterdir()] == ["street.fp32.onnx"]


def test_a_write_that_fails_leaves_the_old_file_as_it_was(
    folder: Path, graph: onnx.ModelProto, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def disk_full(_: onnx.ModelProto, path: Path) -> None:
        path.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(to_onnx_module, "write_model", disk_full)
    with pytest.raises(InputError, match="No space left on device"):
        save(graph, folder / "street.fp32.onnx", card)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_graph_that_is_not_valid_is_not_written(tmp_path: Path, card: Card) -> None:
    broken = onnx.ModelProto(graph=onnx.GraphProto(name="nothing"))
    with pytest.raises(onnx.checker.ValidationError):
        save(broken, tmp_path / "street.fp32.onnx", card)
    assert not list(tmp_path.iterdir())
