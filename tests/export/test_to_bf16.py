"""FP32 ONNX to BF16 ONNX: all floats, at the opset that has them, near enough to FP32's masks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graphs import agreement, run, tensors, types_of
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from releases import release

from export.building.onnx_parser import require_bf16
from export.onnx_file import untyped_tensors
from export.to_bf16 import OPSET, to_bf16
from export.to_engine import EngineOptions, to_engine
from export.to_onnx import save
from export.verify.stages import OnnxStage
from runtime.card import Card, read_card
from runtime.engine.plan import read_plan
from runtime.errors import InputError
from runtime.files import sha256_of
from runtime.onnx.graph_macs import graph_macs
from runtime.onnx.requested_precisions import audit_onnx


@pytest.fixture(scope="module")
def bf16(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The BF16 file of the shared export. Read only."""
    return to_bf16(
        exported / "street.fp32.onnx", tmp_path_factory.mktemp("bf16") / "street.bf16.onnx"
    )


def test_all_weights_are_bfloat16_and_frames_and_masks_stay_uint8(bf16: Path) -> None:
    model = onnx.load(bf16)
    resized = {name for n in model.graph.node if n.op_type == "Resize" for name in n.input[1:]}
    kinds = {t.data_type for t in model.graph.initializer if t.name not in resized}
    assert TensorProto.BFLOAT16 in kinds
    assert not kinds & {TensorProto.FLOAT, TensorProto.FLOAT16}
    assert types_of(model.graph.input) == types_of(model.graph.output) == [TensorProto.UINT8]
    assert [opset.version for opset in model.opset_import if not opset.domain] == [OPSET]
    assert audit_onnx(bf16).precisions.keys() == {"bf16"}
    onnx.checker.check_model(model, full_check=True)


def test_weights_are_rounded_as_torch_rounds_them(bf16: Path, exported: Path) -> None:
    before = tensors(onnx.load(exported / "street.fp32.onnx"))
    for tensor in onnx.load(bf16).graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16 and tensor.name in before:
            found = numpy_helper.to_array(tensor).astype(np.float32)
            wanted = torch.from_numpy(before[tensor.name].copy()).bfloat16().float().numpy()
            np.testing.assert_array_equal(found, wanted)


def test_the_card_says_bf16_and_what_it_was_made_from(bf16: Path, exported: Path) -> None:
    card = read_card(bf16)
    assert card.precision == "bf16"
    assert card.parents == {"fp32.onnx": sha256_of(exported / "street.fp32.onnx")}


def test_the_masks_are_those_of_fp32(
    bf16: Path, exported: Path, streets: list[NDArray[np.uint8]]
) -> None:
    stage = OnnxStage(bf16)
    shares = [
        agreement(stage(frames).mask, run(exported / "street.fp32.onnx", frames)[0])
        for frames in streets
    ]
    assert np.mean(shares) >= 0.99
    assert min(shares) < 1.0  # the rounding is real


def toy(path: Path, card: Card, node: onnx.NodeProto) -> Path:
    """Frames, (1, 4, 3, 3), as floats through one node and back."""
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, (1, 4, 3, 3))
    masks = helper.make_tensor_value_info("masks", TensorProto.UINT8, (1, 4, 3, 3))
    nodes = [
        helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT),
        node,
        helper.make_node("Cast", ["y"], ["masks"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(nodes, "toy", [frames], [masks])
    opsets = [helper.make_opsetid("", 19), helper.make_opsetid("our.own", 1)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path, card)
    return path


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Sharpen", ["x"], ["y"], "it", domain="our.own"),
        helper.make_node("Celu", ["x"], ["y"], "it"),
    ],
    ids=lambda node: str(node.op_type),
)
def test_an_operator_that_bfloat16_lacks_is_refused(
    node: onnx.NodeProto, tmp_path: Path, card: Card
) -> None:
    path = toy(tmp_path / "street.fp32.onnx", card, node)
    with pytest.raises(InputError, match=rf"{node.op_type} \(it\).* leave bf16 out"):
        to_bf16(path, tmp_path / "street.bf16.onnx")
    assert not list(tmp_path.glob("*.bf16.onnx"))


@pytest.mark.parametrize("name", ["10.8.0.43", "11.4.0.106", "rtx-1.7.1.116"])
def test_releases_that_know_the_opset_take_it(name: str, shared: Path) -> None:
    require_bf16(release(shared, name), Path("street.bf16.onnx"))


def test_a_release_that_lacks_the_opset_is_refused(shared: Path) -> None:
    with pytest.raises(InputError, match=r"from 10\.6 on; this is TensorRT 10\.3\.0"):
        require_bf16(release(shared, "10.3.0"), Path("street.bf16.onnx"))


def test_tensorrt_rtx_builds_it(bf16: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    path = Path(shutil.copy(bf16, tmp_path))
    plan = read_plan(to_engine(path, EngineOptions(runtime="rtx", quiet=True)))
    assert plan is not None
    assert plan.doubt(graph_macs(path)) == ""
    assert {(kernel.reads, kernel.writes) for kernel in plan.weighted} == {("bf16", "bf16")}


def test_every_tensor_of_an_export_has_a_type(exported: Path, tmp_path: Path, card: Card) -> None:
    assert untyped_tensors(onnx.load(exported / "street.fp32.onnx")) == []
    own = helper.make_node("Sharpen", ["x"], ["y"], "it", domain="our.own")
    assert untyped_tensors(onnx.load(toy(tmp_path / "own.fp32.onnx", card, own))) == ["y"]
