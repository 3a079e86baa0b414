"""Weights to an FP32 ONNX file: frame in, mask out."""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn
from torch.export import Dim

from export.factory import Source, open_source
from export.frame_model import FrameModel
from export.int8.placement import CLASSIFIERS
from export.onnx_file import EXTERNAL_ABOVE_BYTES, write_data, write_model
from refinenet.batch_norm import fold_batch_norms
from refinenet.network import SegmentationNetwork
from runtime.card import CARD_KEY, Card, write_sidecar
from runtime.errors import InputError
from runtime.files import written_whole

OPSET = 19  # the first whose QuantizeLinear takes FP16 scales
MAX_IR_VERSION = 10  # what TensorRT 10.3's parser reads
TALKATIVE = (
    "torch.onnx._internal.exporter._registration",
    "torch.fx.experimental.symbolic_shapes",
)
INPUT, MASK, LOGITS = "frames", "masks", "logits"
NETWORK_ORDER = "network_channel_order"  # in a card's details


@dataclass(frozen=True)
class OnnxOptions:
    """size: (height, width) of the frames. dynamic: batch and size stay free, and `size` and
    `batch` only serve as an example. output_kind: mask, or logits for parity work.
    factory, card: a network of the user's own; see export.factory. variant: see
    refinenet.load_model."""

    size: tuple[int, int] = (360, 480)
    batch: int = 1
    dynamic: bool = False
    output_kind: str = "mask"
    resize_policy: str = "stretch"
    factory: str | None = None
    card: Path | None = None
    variant: str | None = None


def to_onnx(weights: str | Path | None, output: Path, options: OnnxOptions) -> Path:
    """Write the FP32 frame-to-mask graph of some weights, with its card inside and beside it.

    weights: whatever refinenet.load_model takes; with a factory, its state_dict, or None.
    output: the ONNX file. Its input `frames` is (N, H, W, 3) uint8 BGR, its output `masks`
    (N, H, W) uint8, or `logits` (N, C, H, W) float32.

    Raises InputError or CheckpointError for weights that cannot be read or are not finite,
    InputError for a network that torch.onnx.export cannot trace or translate, and for a dynamic
    export whose example is too small.
    """
    if options.dynamic and min(options.size) < MIN_SIDE:
        raise InputError(
            f"size {options.size[0]}x{options.size[1]}; the example of a dynamic export must have "
            f"at least {MIN_SIDE}x{MIN_SIDE}"
        )
    source = open_source(weights, options.factory, options.card, options.variant)
    if isinstance(source.network, SegmentationNetwork) and min(options.size) < source.network.least:
        raise InputError(
            f"size {options.size[0]}x{options.size[1]}; {source.card.variant} needs at least "
            f"{source.network.least}x{source.network.least}"
        )
    _check_finite(source)
    height, width = options.size
    card = replace(
        source.card,
        precision="fp32",
        channel_order="BGR",
        resize_policy=options.resize_policy,
        output_kind=options.output_kind,
        input_shape=(
            (None, None, None, 3) if options.dynamic else (options.batch, height, width, 3)
        ),
        parents={"weights": source.sha256},
        tools={"torch": torch.__version__, "onnx": onnx.__version__},
        details=_details(source),
    )
    # Not by a name of its own, which would keep the graph in memory until save() ends.
    save(_graph(source, options), output, card)
    return output


def _details(source: Source) -> dict[str, Any]:
    """What the weights' card says, and what of the network inside the graph is not to be seen from
    outside: which weights are classifiers', and in which order it takes the channels."""
    details = dict(source.card.details)
    if isinstance(source.network, SegmentationNetwork):
        details[CLASSIFIERS] = [f"network.{name}.weight" for name in source.network.classifiers]
    if source.card.channel_order != "RGB":
        details[NETWORK_ORDER] = source.card.channel_order
    return details


def _graph(source: Source, options: OnnxOptions) -> onnx.ModelProto:
    """The ONNX graph; the network has no weights any more."""
    try:
        model = FrameModel(source.network, source.card, options.output_kind).eval()
        graph = exported(model, options)
    except torch.onnx.OnnxExporterError as error:
        raise InputError(
            f"{source.name} cannot be exported: {_exporters_reason(error)}. Rewrite that part of "
            "its forward: no path may hang on values, and ONNX must have every operator"
        ) from error
    _release(source.network)
    return graph


def _check_finite(source: Source) -> None:
    for name, values in source.network.state_dict().items():
        if not torch.isfinite(values).all():
            raise InputError(
                f"{source.name}: {name} is not finite: the training that wrote it diverged. "
                "Export an earlier checkpoint"
            )


def _exporters_reason(error: BaseException) -> str:
    """What the error that the exporter's own came from says, without its pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[0].split())[:300].rstrip(".")


def _release(network: nn.Module) -> None:
    """Give the weights' memory back: the exporter keeps references to all that it has traced."""
    for values in (*network.parameters(), *network.buffers()):
        values.data = values.data.new_empty(0)


def exported(model: FrameModel, options: OnnxOptions) -> onnx.ModelProto:
    """The ONNX graph of a frame model: batch norm folded, constants folded, shapes inferred.

    A network of this project has no batch norm any more afterwards. The exporter itself folds none
    whose convolution is called several times, as those of DeepLab-v2 are at three scales.
    """
    if isinstance(model.network, SegmentationNetwork):
        fold_batch_norms(model.network)
    height, width = options.size
    # An example batch of 2: torch.export would take a batch of 1 for a constant.
    batch = 2 if options.dynamic else options.batch
    frames = torch.zeros((batch, height, width, 3), dtype=torch.uint8)
    free = {0: Dim("N"), 1: Dim("H", min=MIN_SIDE), 2: Dim("W", min=MIN_SIDE)}
    with _quiet_exporter(), _no_garbage_collection():
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
    _forget_source(proto)
    return proto


def _forget_source(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes on where in whose files each node stands: they name folders of this
    machine, quote the code of a network of the user's, and make the same export other bytes."""
    graph = model.graph
    for part in (graph, *graph.input, *graph.output, *graph.node, *graph.value_info):
        del part.metadata_props[:]


# Below that, the stride-32 features are one pixel, which the exporter takes for broadcasting.
MIN_SIDE = 33


def save(
    model: onnx.ModelProto, path: Path, card: Card, external_above: int = EXTERNAL_ABOVE_BYTES
) -> None:
    """Check the graph, put the card into it, and write it with its sidecar.

    external_above: bytes of weights above which they go into a file of their own, FILE.data, and
    are gone from `model`; protobuf ends at 2 GiB.
    """
    data = path.with_name(path.name + ".data")
    # A file that this one was made from may have had weights beside it.
    details = {key: value for key, value in card.details.items() if key != "external_data"}
    # Weight by weight: protobuf would write the whole model into memory to learn its size. The rest
    # of it has the room between EXTERNAL_ABOVE_BYTES and 2 GiB.
    weights_bytes = sum(weight.ByteSize() for weight in model.graph.initializer)
    if external := weights_bytes > external_above:
        details["external_data"] = write_data(model, data)
    card = replace(card, details=details)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {CARD_KEY: card.to_json()})
    try:
        with written_whole(path) as temporary:
            write_model(model, temporary)
            # The checker makes two copies of the file; ours goes, unless the caller has kept it.
            del model
            onnx.checker.check_model(temporary, full_check=True)
    except BaseException:
        if external:
            data.unlink(missing_ok=True)
        raise
    if not external:
        data.unlink(missing_ok=True)
    write_sidecar(path, card)


def logits_bytes(card: Card, options: OnnxOptions) -> int:
    """The memory of the full-size scores before ArgMax, float32, in bytes."""
    height, width = options.size
    return 4 * options.batch * len(card.classes) * height * width


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Tracing makes many objects that stay: looking through them again and again takes up to a
    seventh of the exporter's time and finds little."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide what the exporter says of packages that it looks for and of its own deprecations, and
    the graph that torch.export prints before it fails."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
