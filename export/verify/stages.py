"""What verify runs: PyTorch, an ONNX file whose precision is made real, an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from torch import nn

from export.frame_model import INPUT, LOGITS
from export.int8.calibration import session_with_outputs
from export.verify.agreement import Output
from export.verify.fp16_emulation import rounded_to_fp16
from export.verify.preprocessing import network_input
from refinenet.data.network_input import to_input
from refinenet.evaluation.passes import ONE_PASS
from refinenet.evaluation.predict import class_scores
from runtime.errors import InputError
from runtime.frames import Frame
from runtime.normalization import Normalization


class Stage(Protocol):
    """Frames, (N, H, W, 3) uint8, to what the stage makes of the first of them."""

    def __call__(self, frames: Frame) -> Output: ...

    def close(self) -> None: ...


class TorchStage:
    """The network as it was trained and evaluated: fed by the training transform."""

    def __init__(self, network: nn.Module, normalization: Normalization) -> None:
        self._network, self._normalization = network.eval(), normalization

    def __call__(self, frames: Frame) -> Output:
        image = to_input(frames[0], self._normalization)
        with torch.inference_mode():
            scores = class_scores(self._network, image[None], ONE_PASS)[0].numpy()
        return Output(scores.argmax(0).astype(np.uint8), scores, image.numpy())

    def close(self) -> None: ...


class OnnxStage:
    """An ONNX file on the CPU, with its scores laid open and its precision made real."""

    def __init__(self, path: Path) -> None:
        model = real_precision(path)
        self._outputs = [scores_tensor(model)]
        if (fed := network_input(model)) is not None:
            self._outputs.append(fed)
        self._session = session_with_outputs(model, self._outputs)

    def __call__(self, frames: Frame) -> Output:
        scores, *fed = (result[0] for result in self._session.run(self._outputs, {INPUT: frames}))
        return Output(scores.argmax(0).astype(np.uint8), scores, fed[0] if fed else None)

    def close(self) -> None:
        del self._session


class EngineStage:
    def __init__(self, path: Path) -> None:
        # Not above: CUDA's bindings need not be installed to verify ONNX.
        from runtime.engine.engine import Engine

        self._engine = Engine.open(path)

    def __call__(self, frames: Frame) -> Output:
        result = self._engine(frames)[0]
        if self._engine.output_kind == "mask":
            return Output(result.copy(), None)
        return Output(result.argmax(0).astype(np.uint8), result.astype(np.float32))

    def close(self) -> None:
        self._engine.close()


def real_precision(path: Path) -> onnx.ModelProto:
    """A file's graph, rounding to FP16 where a GPU would."""
    return rounded_to_fp16(onnx.load(path))


def scores_tensor(model: onnx.ModelProto) -> str:
    """The input of the last ArgMax, or the output of a file of scores."""
    for node in reversed(model.graph.node):
        if node.op_type == "ArgMax":
            name: str = node.input[0]
            return name
    if model.graph.output[0].name == LOGITS:
        return LOGITS
    raise InputError("the graph has no ArgMax; expected a frame-to-mask export")
