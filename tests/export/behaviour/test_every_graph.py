"""The graph of every variant is plain: TensorRT gets layers, and no arithmetic on shapes."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from graphs import exported, nodes

from export.frame_model import FrameModel
from export.onnx_file import write_model
from export.to_onnx import OnnxOptions
from refinenet.checkpoints.load import published_card
from refinenet.variants import VARIANTS, create_model, normalization_of

LAYERS = {"Conv", "Relu", "Clip", "Add", "MaxPool", "Resize"}
LAYERS |= {"ConvTranspose", "Concat", "Slice", "Pad", "Max"}  # of the networks compared with
FRAME_TO_MASK = {"Cast", "Transpose", "Gather", "Sub", "Mul", "ArgMax"}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_static_graph_is_plain(variant: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create_model(variant, 21)
    model = FrameModel(network, published_card(variant, 21, normalization_of(variant))).eval()
    graph = exported(model, OnnxOptions((64, 64)))
    assert {node.op_type for node in graph.graph.node} <= LAYERS | FRAME_TO_MASK
    # The one Gather turns BGR to the network's order.
    assert [node.input[0] for node in nodes(graph, "Gather")] == ["permute"]
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 19)]
    assert graph.ir_version <= 10
    assert not graph.functions
    write_model(graph, tmp_path / "model.onnx")
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
