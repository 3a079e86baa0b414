"""`refinenet build`: ONNX to TensorRT engines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.arguments import DONE, Parser, print_written
from runtime.files import existing_file


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
        print_written(engine, f"; {warnings} warnings in its card" if warnings else "")
    return DONE


def _shape(text: str) -> tuple[int, int, int]:
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}'; expected NxHEIGHTxWIDTH, such as 1x480x640")
    batch, height, width = map(int, parts)
    return batch, height, width
