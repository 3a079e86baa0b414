"""Weights to an FP32 ONNX file: frame in, mask out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.export import Dim

from export.frame_model import FrameModel
from refinenet.checkpoints import load_checkpoint, weights_path
from runtime.card import CARD_KEY, Card, write_sidecar
from runtime.errors import InputError
from runtime.files import sha256_of, written_whole

OPSET = 19  # the first whose QuantizeLinear takes FP16 scales
MAX_IR_VERSION = 10  # what TensorRT 10.3's parser reads
INPUT, MASK, LOGITS = "frames", "masks", "logits"


@dataclass(frozen=True)
class OnnxOptions:
    """size: (height, width) of the frames. dynamic: batch and size stay free, and `size` and
    `batch` only serve as an example. output_kind: mask, or logits for parity work."""

    size: tuple[int, int] = (360, 480)
    batch: int = 1
    dynamic: bool = False
    output_kind: str = "mask"
    resize_policy: str = "stretch"


def to_onnx(weights: str | Path, output: Path, options: OnnxOptions) -> Path:
    """Write the FP32 frame-to-mask graph of some weights, with its card inside and beside it.

    weights: whatever refinenet.load_model takes.
    output: the ONNX file. Its input `frames` is (N, H, W, 3) uint8 BGR, its output `masks`
    (N, H, W) uint8, or `logits` (N, C, H, W) float32.

    Raises InputError or CheckpointError for weights that cannot be read or are not finite.
    """
    weights = weights_path(weights)
    network, card = load_checkpoint(weights)
    _check_finite(network, weights)
    height, width = options.size
    card = replace(
        card,
        precision="fp32",
        channel_order="BGR",
        resize_policy=options.resize_policy,
        output_kind=options.output_kind,
        input_shape=(
            (None, None, None, 3) if options.dynamic else (options.batch, height, width, 3)
        ),
        parents={"weights": sha256_of(weights)},
        tools={"torch": torch.__version__, "onnx": onnx.__version__},
    )
    model = exported(FrameModel(network, card, options.output_kind).eval(), options)
    save(model, output, card)
    return output


def _check_finite(network: nn.Module, weights: Path) -> None:
    for name, values in network.state_dict().items():
        if not torch.isfinite(values).all():
            raise InputError(
                f"{weights}: {name} is not finite: the training that wrote it diverged. "
                "Export an earlier checkpoint"
            )


def exported(model: FrameModel, options: OnnxOptions) -> onnx.ModelProto:
    """The ONNX graph of a frame model: batch norm folded, constants folded, shapes inferred."""
    height, width = options.size
    # An example batch of 2: torch.export would take a batch of 1 for a constant.
    batch = 2 if options.dynamic else options.batch
    frames = torch.zeros((batch, height, width, 3), dtype=torch.uint8)
    free = {0: Dim("N"), 1: Dim("H", min=MIN_SIDE), 2: Dim("W", min=MIN_SIDE)}
    with _quiet_exporter():
        program = torch.onnx.export(
            model,
            (frames,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[LOGITS if options.output_kind == "logits" else MASK],
            dynamic_shapes=(free,) if options.dynamic else None,
            verbose=False,
        )
    assert program is not None  # with dynamo=True and without a path
    proto: onnx.ModelProto = program.model_proto
    proto.ir_version = min(proto.ir_version, MAX_IR_VERSION)
    return proto


# Below that, the stride-32 features are one pixel, which the exporter takes for broadcasting.
MIN_SIDE = 33


def save(model: onnx.ModelProto, path: Path, card: Card) -> None:
    """Check the graph, put the card into it, and write it with its sidecar."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.checker.check_model(model, full_check=True)
    with written_whole(path) as temporary:
        onnx.save(model, temporary)
    write_sidecar(path, card)


def logits_bytes(card: Card, options: OnnxOptions) -> int:
    """The memory of the full-size scores before ArgMax, float32, in bytes."""
    height, width = options.size
    return 4 * options.batch * len(card.classes) * height * width


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide what the exporter says of packages that it looks for and of its own deprecations."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
