"""The 2-scale network, which resizes its image and its scores, as an ONNX graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from graphs import exported, nodes, run
from numpy.typing import NDArray
from torch import Tensor, nn

from export.frame_model import FrameModel
from export.to_onnx import OnnxOptions
from refinenet.backbones.backbone import Backbone
from refinenet.backbones.two_scale import TwoScale
from refinenet.networks.blocks import PUBLISHED_POOLING
from refinenet.networks.refinenet import BlockPlan, CascadePlan, TwoScaleRefineNet
from runtime.card import Card


class NarrowBackbone(Backbone):
    """Two levels, at strides 4 and 8."""

    feature_channels = (4, 6)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 7, stride=4, padding=3)
        self.layer = nn.Conv2d(4, 6, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x4 = self.stem(image)
        return x4, self.layer(x4)


# Few levels and channels: quick to export, and resized as the real one is.
NARROW = CascadePlan(blocks=(BlockPlan((6, 6), 6), BlockPlan((4, 4, 6), 4)), reductions=None)


def narrow_two_scale() -> TwoScaleRefineNet:
    backbones = TwoScale(NarrowBackbone(), NarrowBackbone())
    return TwoScaleRefineNet(backbones, NARROW, num_classes=3, pooling=PUBLISHED_POOLING)


@pytest.fixture(scope="module")
def model(card: Card) -> FrameModel:
    torch.manual_seed(0)
    return FrameModel(narrow_two_scale(), card, "logits").eval()


def error(model: FrameModel, graph: onnx.ModelProto, frames: NDArray[np.uint8]) -> float:
    """The largest error of the graph's scores, in standard deviations of PyTorch's."""
    with torch.inference_mode():
        expected = model(torch.from_numpy(frames)).numpy()
    return float(np.abs(run(graph, frames) - expected).max() / expected.std())


def test_the_static_2_scale_graph_gives_pytorchs_scores(
    model: FrameModel, photo_frame: NDArray[np.uint8]
) -> None:
    frames = photo_frame[None, 100:196, 100:228]
    graph = exported(model, OnnxOptions((96, 128), output_kind="logits"))
    assert error(model, graph, frames) <= 1e-4
    backbone = model.get_submodule("network.backbone")
    backbone.large, backbone.small = backbone.small, backbone.large
    assert error(model, graph, frames) > 1e-4, "the comparison does not tell the scales apart"
    backbone.large, backbone.small = backbone.small, backbone.large


def test_the_static_2_scale_graph_computes_no_sizes(model: FrameModel) -> None:
    graph = exported(model, OnnxOptions((67, 101), output_kind="logits"))
    found = {node.op_type for node in graph.graph.node}
    assert not found & {"Shape", "Size", "Range", "Reshape", "Slice", "BatchNormalization"}
    assert len(nodes(graph, "Gather")) == 1  # BGR to RGB


@pytest.mark.slow
def test_the_dynamic_2_scale_graph_gives_pytorchs_scores_at_any_size(
    model: FrameModel, photo_frame: NDArray[np.uint8]
) -> None:
    options = OnnxOptions((96, 128), dynamic=True, output_kind="logits")
    graph = exported(model, options)
    for batch, height, width in ((1, 96, 128), (2, 67, 101), (1, 34, 213)):
        crop = photo_frame[100 : 100 + height, 100 : 100 + width]
        assert error(model, graph, np.stack([crop, crop[:, ::-1]][:batch])) <= 1e-4
