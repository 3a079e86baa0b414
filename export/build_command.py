"""`refinenet build`: ONNX to TensorRT engines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from export.building.engine_options import DEFAULT_PROFILE, HARDWARE, WEIGHTS, Profile
from runtime.arguments import DONE, Parser, one_line, positive, print_written
from runtime.errors import InputError
from runtime.shipped import graph_file


@dataclass(frozen=True)
class BuildOptions:
    onnx: tuple[Path, ...]
    runtime: str | None
    target: tuple[str, ...]
    optimization_level: int
    version_compatible: bool
    hardware: str
    weights: str
    tf32: bool
    workspace_mb: int | None
    dla: bool
    sparsity: bool
    timing_cache: Path | None
    refit: Path | None
    min_shape: tuple[int, int, int] | None
    opt_shape: tuple[int, int, int] | None
    max_shape: tuple[int, int, int] | None
    profile: tuple[tuple[tuple[int, int, int], ...], ...]
    card: Path | None
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
        "--card", type=Path, help="the card of files that carry none; see docs/engines.md"
    )
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
        help="GPUs to build for (rtx only): sm_75 sm_80 sm_86 sm_89 sm_120 sm_121, or current "
        "alone; one engine for all from sm_80 on by default",
    )
    parser.add_argument(
        "--optimization-level", type=int, choices=range(6), default=3, help="(default: %(default)s)"
    )
    for option, default, meaning in (
        ("--min-shape", DEFAULT_PROFILE.smallest, "smallest"),
        ("--opt-shape", DEFAULT_PROFILE.tuned, "tuned for"),
        ("--max-shape", DEFAULT_PROFILE.largest, "largest"),
    ):
        parser.add_argument(
            option,
            type=_shape,
            metavar="NxHEIGHTxWIDTH",
            help=f"dynamic files: the {meaning} (default: {'x'.join(map(str, default))})",
        )
    parser.add_argument(
        "--profile",
        type=_profile,
        action="append",
        metavar="MIN,OPT,MAX",
        help="dynamic files: a further profile, such as 1x480x640,1x480x640,4x480x640; may be "
        "given several times",
    )
    _add_portability(parser)
    given = vars(parser.parse_args(arguments))
    if given["refit"] is not None:
        _check_refit(parser, given)
    several = {"onnx": tuple(given["onnx"]), "profile": tuple(given["profile"] or ())}
    return _build(BuildOptions(**given | several))


def _add_portability(parser: Parser) -> None:
    parser.add_argument(
        "--version-compatible",
        action="store_true",
        help="let later TensorRT releases run the engine too (tensorrt only)",
    )
    parser.add_argument(
        "--hardware",
        choices=HARDWARE,
        default="none",
        help="other GPUs that may run the engine (tensorrt only; default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        choices=WEIGHTS,
        default="embedded",
        help="refittable: others of the same shapes can take their place; stripped: left out "
        "until --refit fills them in (default: %(default)s)",
    )
    parser.add_argument(
        "--refit",
        type=Path,
        metavar="ENGINE",
        help="instead of building, put the weights of the one ONNX file into this refittable or "
        "stripped engine; needs a GPU",
    )
    parser.add_argument(
        "--tf32", action="store_true", help="let FP32 convolutions round their inputs to TF32"
    )
    parser.add_argument(
        "--workspace-mb",
        type=positive,
        metavar="MIB",
        help="scratch memory that a layer may take, for a GPU that shares its memory, as a "
        "Jetson's does (default: all)",
    )
    for option in ("--dla", "--sparsity"):
        parser.add_argument(option, action="store_true", help="refused, with the reason")
    parser.add_argument(
        "--timing-cache",
        type=Path,
        metavar="DIR",
        help="keep measured kernel times there for the next build (tensorrt only)",
    )


def _check_refit(parser: Parser, given: Mapping[str, Any]) -> None:
    """InputError for options of a build, which the engine that is there cannot follow."""
    unused = [
        f"--{name.replace('_', '-')}"
        for name, value in given.items()
        if name not in ("onnx", "refit", "quiet") and value != parser.get_default(name)
    ]
    if unused:
        raise InputError(
            f"{', '.join(unused)} only for building; --refit keeps the engine as it is"
        )


def _build(options: BuildOptions) -> int:
    from export.building.builder_config import refuse_unserved
    from export.building.plan_comparison import against_fp16, cost_line, of_another_runtime
    from export.to_engine import EngineOptions, card_of, to_engine
    from runtime import tensorrt_api
    from runtime.card import read_sidecar

    refuse_unserved(dla=options.dla, sparsity=options.sparsity)
    for path in options.onnx:
        graph_file(path)
    if options.refit is not None:
        return _refit(options.refit, options.onnx)
    runtime = options.runtime or tensorrt_api.default_runtime()
    print(f"building with {tensorrt_api.load(runtime).title}")
    engine_options = EngineOptions(
        runtime=runtime,
        targets=options.target,
        optimization_level=options.optimization_level,
        profile=_main_profile(options),
        further_profiles=tuple(Profile(*shapes) for shapes in options.profile),
        version_compatible=options.version_compatible,
        hardware=options.hardware,
        weights=options.weights,
        tf32=options.tf32,
        workspace_mb=options.workspace_mb,
        timing_cache=options.timing_cache,
        quiet=options.quiet,
    )
    engines = []
    for path in options.onnx:
        if warning := of_another_runtime(card_of(path, options.card), runtime):
            print(f"warning: {path}: {warning}", file=sys.stderr)
        engine = to_engine(path, engine_options, options.card)
        sidecar = read_sidecar(engine)
        warnings = sidecar.build["warnings"] if sidecar else []
        for text in dict.fromkeys(warnings):
            print(f"refinenet build: {engine.name}: {one_line(text)}", file=sys.stderr)
        print_written(engine, f"; {len(warnings)} warnings in its card" if warnings else "")
        if sidecar and (line := cost_line(sidecar.build)):
            print(f"  {line}")
        engines.append(engine)
    for engine in engines:  # by now FP16's is there as well, whatever the order
        for line in against_fp16(engine):
            print(line, file=sys.stderr if line.startswith("warning") else sys.stdout)
    return DONE


def _main_profile(options: BuildOptions) -> Profile | None:
    """Of the shapes that were given, the others by default; None where none was."""
    shapes = {
        "smallest": options.min_shape,
        "tuned": options.opt_shape,
        "largest": options.max_shape,
    }
    given = {name: shape for name, shape in shapes.items() if shape is not None}
    return replace(DEFAULT_PROFILE, **given) if given else None


def _refit(engine: Path, onnx: tuple[Path, ...]) -> int:
    from export.building.refit import refit

    if len(onnx) != 1:
        raise InputError(f"--refit takes the weights of one ONNX file; found {len(onnx)}")
    print_written(refit(engine, onnx[0]))
    return DONE


def _shape(text: str) -> tuple[int, int, int]:
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}'; expected NxHEIGHTxWIDTH, such as 1x480x640")
    batch, height, width = map(int, parts)
    return batch, height, width


def _profile(text: str) -> tuple[tuple[int, int, int], ...]:
    shapes = tuple(_shape(part) for part in text.split(","))
    if len(shapes) != 3:
        raise argparse.ArgumentTypeError(f"'{text}'; expected three shapes, MIN,OPT,MAX")
    return shapes
