"""`refinenet export`: weights to ONNX."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from export.export_options import DATASET, SEARCH_IMAGES, ExportOptions, check_options, measured
from export.export_parser import export_parser
from runtime.arguments import DONE, print_written
from runtime.errors import CheckFailed, InputError
from runtime.files import output_folder

if TYPE_CHECKING:
    from export.fp16_range import Peaks
    from export.int8.layer_search import SearchOptions
    from export.int8.measurement import Measurement
    from runtime.card import Card


def export(arguments: Sequence[str]) -> int:
    """refinenet export: weights to ONNX in up to three precisions."""
    return _export(ExportOptions(**vars(export_parser().parse_args(arguments))))


def _export(options: ExportOptions) -> int:
    check_options(options)

    from export.int8.layer_search import SEARCHED, SearchOptions, open_labelled
    from export.int8.measurement import plan_measurement
    from export.int8.runtimes import int8_runtime

    weights = _weights(options)
    folder = output_folder(options.output)
    name = options.name or weights.name.split(".")[0]
    measurement = plan_measurement(
        weights,
        options.calibration,
        options.calibration_method,
        options.percentile,
        ours=options.factory is None,
        variant=options.variant,
        weights_key=options.weights_key,
        int8="int8" in options.precisions,
        quiet=options.quiet,
    )
    _note_folders(measurement.images)
    int8_for = int8_runtime(options.int8_for, measurement.saved)
    fp32 = _export_fp32(weights, folder / f"{name}.fp32.onnx", options)
    _note_untyped(fp32, options.precisions)
    if "bf16" in options.precisions:
        from export.to_bf16 import to_bf16

        print_written(to_bf16(fp32, folder / f"{name}.bf16.onnx"))
    if not measured(options.precisions):
        return DONE
    search = SearchOptions(
        data=options.data,
        dataset=options.dataset or DATASET,
        images=options.search_images or SEARCH_IMAGES,
        sensitivity=options.sensitivity,
        quiet=options.quiet,
        int8_for=int8_for,
    )
    if (options.accuracy_loss, options.sensitivity) != (None, None):
        _check_scored(fp32)
    if search.data is not None:  # better before the measuring
        open_labelled(fp32, search, SEARCHED)
    peaks = measurement.peaks(fp32)
    if not peaks.images:
        _note("FP16's range was judged by the weights alone; --calibration IMAGES measures it")
    if "fp16" in options.precisions:
        _export_fp16(fp32, folder / f"{name}.fp16.onnx", peaks)
    if "int8" in options.precisions:
        output = folder / f"{name}.int8.onnx"
        _export_int8(fp32, output, measurement, peaks, search, options)
    return DONE


def _check_scored(fp32: Path) -> None:
    """InputError for a network without scores to compare."""
    from export.frame_model import CLASS_MAP_KEY
    from runtime.card import read_card

    if read_card(fp32).details.get(CLASS_MAP_KEY):
        raise InputError(
            "--accuracy-loss and --sensitivity compare scores, and this network gives class ids; "
            "return the scores instead"
        )


def _weights(options: ExportOptions) -> Path:
    """The weights file; where a factory needs none, the function's name stands for it."""
    from refinenet.checkpoints.load import weights_path

    if options.weights is not None:
        return weights_path(options.weights)
    if options.factory is None:
        raise InputError("no weights given, and no --factory; give one of them")
    return Path(options.factory.replace(":", ".").rpartition(".")[2])


def _export_fp32(weights: Path, output: Path, options: ExportOptions) -> Path:
    from export.to_onnx import OnnxOptions, logits_bytes, to_onnx
    from runtime.card import read_card

    onnx_options = OnnxOptions(
        size=options.size,
        batch=options.batch or 1,
        dynamic=options.dynamic,
        output_kind=options.output_kind,
        resize_policy=options.resize or "stretch",
        factory=options.factory,
        card=options.card,
        variant=options.variant,
        weights_key=options.weights_key,
        quiet=options.quiet,
    )
    to_onnx(options.weights and weights, output, onnx_options)
    card = read_card(output)
    print_written(output, _sizes_taken(card))
    if (scores := logits_bytes(card, onnx_options)) > LARGE_SCORES:
        _note(
            f"the scores at full size take {scores / 2**30:.1f} GiB per batch (FP32) before "
            "ArgMax; a smaller --size or --batch takes less"
        )
    return output


def _sizes_taken(card: Card) -> str:
    """What a dynamic file takes, and at which sizes it was compared with PyTorch."""
    if card.frame_size is not None:
        return ""
    sizes = ", ".join(card.details["compared_at"])
    of = "" if card.size_multiple == 1 else f" whose sides are multiples of {card.size_multiple}"
    return f", any size{of}: agrees with PyTorch at {sizes}"


def _export_fp16(fp32: Path, output: Path, peaks: Peaks) -> None:
    from export.to_fp16 import to_fp16
    from runtime.card import read_card

    print_written(to_fp16(fp32, output, peaks))
    for entry in read_card(output).details["fp16"]["kept_in_fp32"]:
        _note(f"{entry['node']} stays FP32: {entry['reason']}")


def _export_int8(
    fp32: Path,
    output: Path,
    measurement: Measurement,
    peaks: Peaks,
    search: SearchOptions,
    options: ExportOptions,
) -> None:
    """CheckFailed, once all is written, if the layers found lose more than they may."""
    from export.int8.layer_search import measure_sensitivity, select_layers
    from export.to_int8 import to_int8
    from refinenet.activation_ranges import save_ranges
    from runtime.card import read_card

    ranges = measurement.ranges(fp32, peaks)
    if options.save_ranges is not None:
        save_ranges(ranges, options.save_ranges)
    if (budget := options.accuracy_loss) is None:
        if options.sensitivity is not None:
            measure_sensitivity(fp32, ranges, search, measurement.images)
            print_written(options.sensitivity)
        print_written(to_int8(fp32, output, ranges, peaks, int8_for=search.int8_for))
        _note_scales(output)
        return
    selection = select_layers(fp32, ranges, peaks, search, budget)
    print_written(to_int8(fp32, output, ranges, peaks, selection, search.int8_for))
    _note_scales(output)
    layers = len(read_card(output).details["calibration"]["ranges"])
    loss = selection.search["reported_on"]["loss_points"]
    print(f"{layers} layers in INT8; on val they lose {loss:.2f} points of mIoU")
    if not loss <= budget:
        raise CheckFailed(
            f"searched on train within {budget:g} points, the INT8 layers lose {loss:.2f} on val; "
            "search on more images (--search-images), or fine-tune: refinenet train --qat"
        )


def _note_untyped(fp32: Path, precisions: Sequence[str]) -> None:
    from export.onnx_file import outline, untyped_tensors

    if precisions != ("fp32",) and (unknown := untyped_tensors(outline(fp32))):
        _note(
            f"the type of {len(unknown)} tensors is not known, such as {unknown[0]}: whether they "
            "become narrower is not known, and verify does not round them"
        )


def _note_scales(output: Path) -> None:
    """Where weights for TensorRT-RTX have scales that it does not fuse."""
    from runtime.card import read_card

    calibration = read_card(output).details["calibration"]
    if calibration["int8_for"] == "rtx" and (layers := calibration["scale_per_channel"]):
        _note(
            f"{len(layers)} layers keep a scale per output channel, which TensorRT-RTX does not "
            f"fuse: {next(iter(layers))}: {next(iter(layers.values()))}"
        )


def _note_folders(images: Sequence[Path]) -> None:
    """Where images of several folders are measured, labels may be among them."""
    counts = Counter(str(image.parent) for image in images)
    if len(counts) > 1:
        named = [f"{count} in {folder}" for folder, count in counts.most_common(LISTED_FOLDERS)]
        more = ["…"] if len(counts) > LISTED_FOLDERS else []
        _note(f"measuring on {len(images)} images: {', '.join([*named, *more])}")


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


LARGE_SCORES = 2**30  # bytes
LISTED_FOLDERS = 4
