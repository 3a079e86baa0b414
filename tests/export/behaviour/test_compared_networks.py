"""The graphs of the networks that RefineNet is compared with: PyTorch's scores at any size."""

from __future__ import annotations

import copy

import numpy as np
import onnxruntime
import pytest
import torch
from graphs import exported

from export.frame_model import FrameModel
from export.to_onnx import OnnxOptions
from refinenet.checkpoints.load import published_card
from refinenet.variants import VARIANTS, create_model, normalization_of

EXAMPLE = (64, 96)
# With sides that no stride divides: here U-Net pads, FCN crops and the ceil-mode pooling rounds up.
ODD = (75, 98)
BATCH = 2
COMPARED = [name for name, row in VARIANTS.items() if not row.chained_pooling]


def scores_of(graph_bytes: bytes, frames: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph_bytes, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"frames": frames})
    return np.asarray(scores)


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("variant", COMPARED)
def test_the_graph_gives_pytorchs_scores(variant: str, dynamic: bool) -> None:
    torch.manual_seed(0)
    network = create_model(variant, 3).eval()
    card = published_card(variant, 3, normalization_of(variant))
    model = FrameModel(network, card, "logits").eval()
    size = EXAMPLE if dynamic else ODD
    graph = exported(
        FrameModel(copy.deepcopy(network), card, "logits").eval(),
        OnnxOptions(size, BATCH, dynamic=dynamic, output_kind="logits"),
    ).SerializeToString()
    rng = np.random.default_rng(0)
    for height, width in (ODD, EXAMPLE) if dynamic else (ODD,):
        frames = rng.integers(0, 256, (BATCH, height, width, 3), np.uint8)
        with torch.inference_mode():
            expected = model(torch.from_numpy(frames)).numpy()
        found = scores_of(graph, frames)
        assert found.shape == (BATCH, 3, height, width)
        assert np.abs(found - expected).max() <= 1e-4 * expected.std()
