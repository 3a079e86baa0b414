"""Weights to an FP32 ONNX file: frame in, mask out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.export import Dim

from export.checks.dynamic_sizes import Comparison, compare_sizes, free_axes
from export.checks.fixed_lines import SMALLEST, size_dependent_lines
from export.checks.scores import CLASS_MAP, network_inside
from export.factory import Source, open_source
from export.frame_model import INPUT, LOGITS, MASK, NETWORK_ORDER, FrameModel
from export.int8.placement import CLASSIFIERS
from export.onnx_file import EXTERNAL_ABOVE_BYTES, write_data, write_model
from export.quiet_exporter import (
    exporters_reason,
    forget_source,
    no_garbage_collection,
    quiet_exporter,
)
from refinenet.batch_norm import fold_batch_norms
from refinenet.network import SegmentationNetwork
from runtime.card import CARD_KEY, Card, write_sidecar
from runtime.errors import InputError
from runtime.files import written_whole

OPSET = 19  # the first whose QuantizeLinear takes FP16 scales
MAX_IR_VERSION = 10  # what TensorRT 10.3's parser reads
# In a card's details.
WEIGHTS_KEY, EXAMPLE_SIZE = "weights_key", "example_size"


@dataclass(frozen=True)
class OnnxOptions:
    """size: (height, width) of the frames. dynamic: batch and size stay free, and `size` and
    `batch` only serve as an example. output_kind: mask, or logits for parity work.
    factory, card: a network of the user's own; see export.factory. variant: see
    refinenet.load_model. weights_key: which of several sets of weights in a checkpoint. quiet: no
    progress bar."""

    size: tuple[int, int] = (360, 480)
    batch: int = 1
    dynamic: bool = False
    output_kind: str = "mask"
    resize_policy: str = "stretch"
    factory: str | None = None
    card: Path | None = None
    variant: str | None = None
    weights_key: str | None = None
    quiet: bool = True


@dataclass(frozen=True)
class Graph:
    """compared: with PyTorch at further sizes, where it is dynamic."""

    model: onnx.ModelProto
    compared: Comparison | None


def to_onnx(weights: str | Path | None, output: Path, options: OnnxOptions) -> Path:
    """Write the FP32 frame-to-mask graph of some weights, with its card inside and beside it.

    weights: whatever refinenet.load_model takes; with a factory, its state_dict, or None.
    output: the ONNX file. Its input `frames` is (N, H, W, 3) uint8 BGR, its output `masks`
    (N, H, W) uint8, or `logits` (N, C, H, W) float32.

    The network runs once in PyTorch, at this size, before anything else. What the file takes is
    read from the graph, and a dynamic one is compared with PyTorch at further sizes.

    Raises InputError or CheckpointError for weights that cannot be read or are not finite,
    InputError for a network that fails at this size, whose result has no meaning, or that
    torch.onnx.export cannot trace or translate; and with `dynamic` for one that is tied to its
    example's size, or an example that is too small.
    """
    if options.dynamic and min(options.size) < SMALLEST:
        raise InputError(
            f"size {options.size[0]}x{options.size[1]}; the example of a dynamic export must have "
            f"at least {SMALLEST}x{SMALLEST}"
        )
    source = open_source(
        weights,
        options.factory,
        options.card,
        options.variant,
        size=options.size,
        batch=options.batch,
        weights_key=options.weights_key,
    )
    if source.reading.kind == CLASS_MAP and options.output_kind == "logits":
        raise InputError(f"{source.name} gives class ids and no scores; leave --output-kind out")
    graphs = [_graph(source, options)]
    card = _card(source, options, graphs[0])
    # Popped, since a name of its own would keep the graph in memory until save() ends.
    save(graphs.pop().model, output, card)
    return output


def _card(source: Source, options: OnnxOptions, graph: Graph) -> Card:
    details = dict(source.card.details)
    network = network_inside(source.network)
    prefix = "network." if network is source.network else "network.network."
    # What of the network inside the graph is not to be seen from outside: which weights are
    # classifiers', and in which order it takes the channels.
    if isinstance(network, SegmentationNetwork):
        details[CLASSIFIERS] = [f"{prefix}{name}.weight" for name in network.classifiers]
    if source.card.channel_order != "RGB":
        details[NETWORK_ORDER] = source.card.channel_order
    if options.weights_key is not None:
        details[WEIGHTS_KEY] = options.weights_key
    if graph.compared is not None:
        details[EXAMPLE_SIZE] = list(options.size)
        details["compared_at"] = [f"{height}x{width}" for height, width in graph.compared.sizes]
    return replace(
        source.card,
        precision="fp32",
        channel_order="BGR",
        resize_policy=options.resize_policy,
        output_kind=options.output_kind,
        input_shape=free_axes(graph.model),
        size_multiple=graph.compared.multiple if graph.compared else 1,
        parents={"weights": source.sha256},
        tools={"torch": torch.__version__, "onnx": onnx.__version__},
        details=details,
    )


def example_size(card: Card) -> tuple[int, int]:
    """(height, width) that the network of an exported file ran at."""
    example = card.details.get(EXAMPLE_SIZE)
    if card.frame_size is None and isinstance(example, list) and len(example) == 2:
        return int(example[0]), int(example[1])
    return card.frame_size or (64, 64)


def _graph(source: Source, options: OnnxOptions) -> Graph:
    """The ONNX graph; the network has no weights any more."""
    model = FrameModel(source.network, source.card, options.output_kind).eval()
    try:
        graph = traced(model, options)
    except torch.onnx.OnnxExporterError as error:
        reason = exporters_reason(error)
        if options.dynamic and (lines := size_dependent_lines(model, options.size)):
            raise InputError(
                f"{source.name} cannot be exported for any size: its result depends on the size at "
                f"{'; '.join(lines)} ({reason}). Export without --dynamic, one file a size"
            ) from error
        raise InputError(
            f"{source.name} cannot be exported: {reason}. Rewrite that part of "
            "its forward: no path may hang on values, and ONNX must have every operator"
        ) from error
    compared = None
    if options.dynamic:
        compared = compare_sizes(graph, model, source.name, options.size, options.quiet)
    forget_source(graph)
    _release(source.network)
    return Graph(graph, compared)


def _release(network: nn.Module) -> None:
    """Give the weights' memory back: the exporter keeps references to all that it has traced."""
    for values in (*network.parameters(), *network.buffers()):
        values.data = values.data.new_empty(0)


def traced(model: FrameModel, options: OnnxOptions) -> onnx.ModelProto:
    """The ONNX graph of a frame model: batch norm folded, constants folded, shapes inferred.

    It still has the exporter's notes on where its nodes come from.

    The exporter itself folds no batch norm whose convolution is called several times, as those of
    DeepLab-v2 are at three scales.
    """
    if isinstance(network := network_inside(model.network), SegmentationNetwork):
        fold_batch_norms(network)
    height, width = options.size
    # An example batch of 2: torch.export would take a batch of 1 for a constant.
    batch = 2 if options.dynamic else options.batch
    frames = torch.zeros((batch, height, width, 3), dtype=torch.uint8)
    # Below that, stride-32 features are one pixel, which the exporter takes for broadcasting.
    free = {0: Dim("N"), 1: Dim("H", min=SMALLEST), 2: Dim("W", min=SMALLEST)}
    with quiet_exporter(), no_garbage_collection():
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
