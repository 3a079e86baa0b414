"""Quantization-aware fine-tuning meets its INT8 export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graphs import quantizable

from export.frame_model import FrameModel
from export.int8.calibration import frame_batch, session_with_outputs
from export.int8.runtimes import int8_runtime
from export.to_int8 import quantize
from export.verify.stages import scores_tensor
from refinenet.activation_ranges import Ranges
from refinenet.checkpoints.load import load_checkpoint
from refinenet.training.qat import insert_fake_quantization, learned_ranges
from runtime.card import read_card
from runtime.errors import InputError
from runtime.frames import list_images

WEIGHTS = "lw-mobilenetv2-camvid"


def test_what_training_computes_is_what_the_int8_file_computes(
    camvid: Path, exported: Path
) -> None:
    fp32 = exported / "street.fp32.onnx"
    network, card = load_checkpoint(WEIGHTS)
    images = list_images(camvid / "images/train")[::99]
    frames = np.concatenate([frame_batch(path, read_card(fp32)) for path in images])
    float_model = FrameModel(load_checkpoint(WEIGHTS)[0], card, "logits").eval()
    insert_fake_quantization(network)
    model = FrameModel(network, card, "logits").train()
    with torch.no_grad():
        model(torch.from_numpy(frames))
        expected = model.eval()(torch.from_numpy(frames[:1])).numpy()
        unquantized = float_model(torch.from_numpy(frames[:1])).numpy()

    graph = onnx.load(fp32)
    layers = quantizable(graph)
    ranges = learned_ranges(network, "camvid", len(frames))
    assert {layer.input[1] for layer in layers} == ranges.limits.keys()
    quantize(graph, layers, ranges, int8_runtime(None, ranges))
    session = session_with_outputs(graph, [scores_tensor(graph)])
    (found,) = session.run(None, {"frames": frames[:1]})

    def distance(scores: np.ndarray) -> float:
        return float(np.sqrt(np.mean(np.square(scores - found))) / found.std())

    # Not zero: where two ways to add differ in the last bit, a rounding turns over now and then,
    # and 49 layers carry it on.
    assert distance(expected) < 0.02
    assert distance(expected) < 0.6 * distance(unquantized)
    assert np.mean(expected.argmax(1) == found.argmax(1)) > 0.99


def test_learned_ranges_are_exported_with_the_scales_that_were_learned() -> None:
    learned = Ranges("learned", "camvid", 1, "", {})
    assert int8_runtime(None, learned) == int8_runtime("tensorrt", learned) == "tensorrt"
    with pytest.raises(InputError, match="leave --int8-for out"):
        int8_runtime("rtx", learned)


def test_measured_ranges_are_exported_for_rtx_unless_tensorrt_is_asked_for() -> None:
    measured = Ranges("max", "camvid", 1, "", {})
    assert int8_runtime(None, measured) == int8_runtime(None, None) == "rtx"
    assert int8_runtime("tensorrt", measured) == "tensorrt"
