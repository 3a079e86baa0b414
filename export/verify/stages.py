"""What verify runs: PyTorch, an ONNX file whose precision is made real, an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional as F

from export.checks.first_run import users_code
from export.checks.scores import gives_ids
from export.frame_model import CLASS_MAP_KEY, LOGITS
from export.int8.calibration import run_on, session_with_outputs
from export.verify.agreement import Output
from export.verify.fp16_emulation import rounded_to_fp16
from export.verify.preprocessing import network_input
from refinenet.data.network_input import to_input
from refinenet.evaluation.passes import ONE_PASS
from refinenet.evaluation.predict import class_scores
from runtime.card import read_card
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
        """InputError with the network's own reason if it does not take this size."""
        image = to_input(frames[0], self._normalization)
        height, width = image.shape[1:]
        with users_code(f"PyTorch's network fails on an image of {height}x{width}"):
            return self._output(image)

    def _output(self, image: torch.Tensor) -> Output:
        with torch.inference_mode():
            if gives_ids(self._network):
                ids = self._network(image[None])[:, None].float()
                mask = F.interpolate(ids, image.shape[1:], mode="nearest-exact")[0, 0]
                return Output(mask.numpy().astype(np.uint8), None, image.numpy())
            scores = class_scores(self._network, image[None], ONE_PASS)[0].numpy()
        return Output(scores.argmax(0).astype(np.uint8), scores, image.numpy())

    def close(self) -> None: ...


class OnnxStage:
    """An ONNX file on the CPU, with its scores laid open and its precision made real."""

    def __init__(self, path: Path) -> None:
        model = real_precision(path)
        self._name, self._scored = path.name, not read_card(path).details.get(CLASS_MAP_KEY)
        self._outputs = [scores_tensor(model) if self._scored else model.graph.output[0].name]
        if (fed := network_input(model)) is not None:
            self._outputs.append(fed)
        self._session = session_with_outputs(model, self._outputs)

    def __call__(self, frames: Frame) -> Output:
        """InputError if the graph does not take this size."""
        results = run_on(self._session, self._outputs, frames, self._name)
        result, *fed = (values[0] for values in results)
        network_input = fed[0] if fed else None
        if not self._scored:
            return Output(result, None, network_input)
        return Output(result.argmax(0).astype(np.uint8), result, network_input)

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
