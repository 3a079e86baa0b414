"""The commands of this package: export, build, verify."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.arguments import DONE, Parser, choices, positive, size
from runtime.errors import CheckFailed, InputError
from runtime.files import existing_file, output_folder

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
    _print_file(fp32)
    if (scores := logits_bytes(read_card(fp32), onnx_options)) > LARGE_SCORES:
        print(
            f"note: the scores at full size take {scores / 2**30:.1f} GiB per batch (FP32) before "
            "ArgMax; a smaller --size or --batch takes less",
            file=sys.stderr,
        )
    if "fp16" in options.precisions:
        _print_file(to_fp16(fp32, folder / f"{name}.fp16.onnx"))
    if ranges_for is not None:
        ranges = ranges_for(fp32)
        if options.save_ranges is not None:
            save_ranges(ranges, options.save_ranges)
        _print_file(to_int8(fp32, folder / f"{name}.int8.onnx", ranges))
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


@dataclass(frozen=True)
class BuildOptions:
    onnx: tuple[Path, ...]
    runtime: str | None
    target: tuple[str, ...]
    optimization_level: int
    min_shape: tuple[int, int, int]
    opt_shape: tuple[int, int, int]
    max_shape: tuple[int, int, int]
    quiet: bool


def build(arguments: Sequence[str]) -> int:
    """refinenet build: ONNX files to TensorRT engines, each beside its file."""
    parser = Parser(
        "build",
        "Build a TensorRT engine beside each ONNX file. The precision is the file's own.\n"
        "TensorRT-RTX builds without a GPU; TensorRT builds for the GPU it runs on.",
        "refinenet build build/*.onnx --runtime rtx --target sm_86,sm_89",
    )
    parser.add_argument("onnx", nargs="+", type=Path, help="files that refinenet export wrote")
    parser.add_argument(
        "--runtime",
        choices=("rtx", "tensorrt"),
        help="tensorrt where it and a GPU are, else rtx, by default",
    )
    parser.add_argument(
        "--target",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="sm_86,…",
        help="GPUs to build for (rtx only); one engine for all by default",
    )
    parser.add_argument(
        "--optimization-level", type=int, choices=range(6), default=3, help="(default: %(default)s)"
    )
    for option, default, meaning in (
        ("--min-shape", (1, 64, 64), "smallest"),
        ("--opt-shape", (1, 480, 640), "tuned for"),
        ("--max-shape", (1, 1080, 1920), "largest"),
    ):
        parser.add_argument(
            option,
            type=_shape,
            default=default,
            metavar="NxHEIGHTxWIDTH",
            help=f"dynamic files: the {meaning} (default: {'x'.join(map(str, default))})",
        )
    given = vars(parser.parse_args(arguments))
    return _build(BuildOptions(**given | {"onnx": tuple(given["onnx"])}))


def _build(options: BuildOptions) -> int:
    from export.to_engine import EngineOptions, Profile, to_engine
    from runtime import tensorrt_api
    from runtime.card import read_sidecar

    for path in options.onnx:
        existing_file(path)
    runtime = options.runtime or tensorrt_api.default_runtime()
    print(f"building with {tensorrt_api.load(runtime).title}")
    engine_options = EngineOptions(
        runtime=runtime,
        targets=options.target,
        optimization_level=options.optimization_level,
        profile=Profile(options.min_shape, options.opt_shape, options.max_shape),
        quiet=options.quiet,
    )
    for path in options.onnx:
        engine = to_engine(path, engine_options)
        sidecar = read_sidecar(engine)
        warnings = len(sidecar.build["warnings"]) if sidecar else 0
        _print_file(engine, f"; {warnings} warnings in its card" if warnings else "")
    return DONE


def verify(arguments: Sequence[str]) -> int:
    """refinenet verify: exit code 1 if a gate fails."""
    parser = Parser(
        "verify",
        "Compare every stage in a folder with the one before it, on real images: PyTorch, FP32,\n"
        "FP16, INT8, engines. Exit code 1 if a gate fails; NOT RUN for what cannot run here.",
        "refinenet verify build --weights lw-mobilenetv2-camvid --images photos",
    )
    parser.add_argument("folder", type=Path, help="what refinenet export and build wrote")
    parser.add_argument("--weights", required=True, help="what the exports were made from")
    parser.add_argument("--images", type=Path, help="a folder of images, or one image")
    parser.add_argument("--data", type=Path, help="a dataset with labels instead, for mIoU")
    parser.add_argument("--dataset", default="camvid", help="(default: %(default)s)")
    parser.add_argument("--split", default="val", help="(default: %(default)s)")
    parser.add_argument("--limit", type=positive, help="at most so many images")
    parser.add_argument(
        "--untrained", action="store_true", help="judge scores, not pixels: classes lie close"
    )
    parser.add_argument(
        "--require-engine", action="store_true", help="fail if an engine cannot run here"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = vars(parser.parse_args(arguments))
    return _verify(given.pop("json"), shlex.join(("refinenet", "verify", *arguments)), given)


def _verify(json_file: Path | None, command: str, given: dict[str, Any]) -> int:
    from export.verify import FAILED, NOT_RUN, StageResult, VerifyOptions, save_results, verify

    def line(row: StageResult) -> str:
        measures = row.measures
        return (
            f"{row.name:<10} {row.against:<8} {_share(measures.get('pixel_agreement')):>9} "
            f"{_share(measures.get('boundary_agreement')):>8} "
            f"{_exponent(measures.get('scores_rms_error')):>8} "
            f"{_share(measures.get('miou')):>7}  {row.status}"
        )

    results = verify(VerifyOptions(**given))
    if json_file is not None:
        save_results(results, json_file, command)
    print("stage      against     pixels   border   scores    mIoU  result")
    for row in results:
        print(line(row) + (f": {row.reason}" if row.status == FAILED else ""))
    for reason in dict.fromkeys(row.reason for row in results if row.status == NOT_RUN):
        print(f"{NOT_RUN}: {reason}")
    print(
        "pixels: share equal to the stage before; border: within 3 pixels of a class border;\n"
        "scores: RMS difference in standard deviations; mIoU: with --data"
    )
    failed = [row.name for row in results if row.status == FAILED]
    if failed:
        raise CheckFailed(f"the first stage that fails is {failed[0]}")
    return DONE


def _shape(text: str) -> tuple[int, int, int]:
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}'; expected NxHEIGHTxWIDTH, such as 1x480x640")
    batch, height, width = map(int, parts)
    return batch, height, width


def _print_file(path: Path, remark: str = "") -> None:
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB{remark}")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _exponent(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
