"""`refinenet export`: weights to ONNX."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.arguments import DONE, Parser, choices, positive, print_written, size
from runtime.errors import InputError
from runtime.files import output_folder

if TYPE_CHECKING:
    from export.calibration import Ranges

PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class ExportOptions:
    weights: str
    output: Path
    name: str | None
    size: tuple[int, int]
    batch: int
    dynamic: bool
    precisions: tuple[str, ...]
    calibration: Path | None
    percentile: float
    save_ranges: Path | None
    output_kind: str
    resize: str
    quiet: bool


def export(arguments: Sequence[str]) -> int:
    """refinenet export: weights to ONNX in up to three precisions."""
    parser = Parser(
        "export",
        "Write the frame-to-mask graph of trained weights as ONNX files, each with its card.\n"
        "FP32 is always written: the other precisions are made from it.",
        "refinenet export lw-mobilenetv2-camvid --output build --size 360x480",
    )
    parser.add_argument("weights", help="a .safetensors or published .pth file, or shipped weights")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--name", help="of the files; the name of the weights by default")
    parser.add_argument("--size", type=size, default=(360, 480), metavar="HEIGHTxWIDTH")
    parser.add_argument("--batch", type=positive, default=1)
    parser.add_argument(
        "--dynamic", action="store_true", help="leave batch and size free, as a profile"
    )
    parser.add_argument(
        "--precision",
        dest="precisions",
        type=choices(*PRECISIONS),
        default=PRECISIONS,
        metavar="fp32,fp16,int8",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="IMAGES",
        help="images to measure INT8 ranges on, or a .json of --save-ranges; the ranges that ship "
        "with the weights by default",
    )
    parser.add_argument(
        "--save-ranges", type=Path, metavar="FILE", help="keep the measured ranges as JSON"
    )
    parser.add_argument(
        "--percentile",
        type=float,
        default=99.99,
        help="of activations that INT8 must cover, 100 for all (default: %(default)s)",
    )
    parser.add_argument("--output-kind", choices=("mask", "logits"), default="mask")
    parser.add_argument(
        "--resize",
        choices=("stretch", "letterbox"),
        default="stretch",
        help="what becomes of a frame of another size (default: %(default)s)",
    )
    return _export(ExportOptions(**vars(parser.parse_args(arguments))))


def _export(options: ExportOptions) -> int:
    from export.calibration import save_ranges
    from export.to_fp16 import to_fp16
    from export.to_int8 import to_int8
    from export.to_onnx import OnnxOptions, logits_bytes, to_onnx
    from refinenet.checkpoints import weights_path
    from runtime.card import read_card

    weights = weights_path(options.weights)
    folder = output_folder(options.output)
    name = options.name or weights.name.split(".")[0]
    # Looked at before the work starts, so that a wrong path does not cost the export.
    ranges_for = _ranges(weights, options) if "int8" in options.precisions else None
    onnx_options = OnnxOptions(
        options.size, options.batch, options.dynamic, options.output_kind, options.resize
    )
    fp32 = to_onnx(weights, folder / f"{name}.fp32.onnx", onnx_options)
    print_written(fp32)
    if (scores := logits_bytes(read_card(fp32), onnx_options)) > LARGE_SCORES:
        print(
            f"note: the scores at full size take {scores / 2**30:.1f} GiB per batch (FP32) before "
            "ArgMax; a smaller --size or --batch takes less",
            file=sys.stderr,
        )
    if "fp16" in options.precisions:
        print_written(to_fp16(fp32, folder / f"{name}.fp16.onnx"))
    if ranges_for is not None:
        ranges = ranges_for(fp32)
        if options.save_ranges is not None:
            save_ranges(ranges, options.save_ranges)
        print_written(to_int8(fp32, folder / f"{name}.int8.onnx", ranges))
    return DONE


def _ranges(weights: Path, options: ExportOptions) -> Callable[[Path], Ranges]:
    """Where the INT8 ranges of an FP32 file will come from; InputError if from nowhere."""
    from export.calibration import collect_ranges, load_ranges, shipped_ranges
    from refinenet.checkpoints import load_checkpoint
    from runtime.frames import images_of

    source = options.calibration or shipped_ranges(weights)
    if options.calibration is None and not source.is_file():
        load_checkpoint(weights)  # weights that cannot be read are the first thing to say
        raise InputError(
            f"INT8 needs activation ranges, and none ship with {weights.name}; give "
            "--calibration IMAGES, or leave int8 out: --precision fp32,fp16"
        )
    if source.suffix == ".json":
        ranges = load_ranges(source)
        return lambda _: ranges
    images = images_of(source)
    return lambda fp32: collect_ranges(fp32, images, options.percentile, options.quiet)


LARGE_SCORES = 2**30  # bytes
