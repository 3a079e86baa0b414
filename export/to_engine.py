"""ONNX to a TensorRT engine: 10.3 to 11 and TensorRT-RTX alike.

There is no precision here: it lies in the ONNX file, and every network is strongly typed. Neither
torch nor onnx is imported, so that a Jetson builds with the base and its own TensorRT.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from export.build_progress import BuildProgress
from runtime import tensorrt_api
from runtime.card import Card, read_card, write_sidecar
from runtime.errors import DeviceError, InputError
from runtime.files import existing_file, sha256_of, written_whole
from runtime.tensorrt_api import CollectingLogger, TensorRT

FILE_TAGS = MappingProxyType({"rtx": "rtx", "tensorrt": "trt"})

Shape = tuple[int, int, int]  # (batch, height, width)


@dataclass(frozen=True)
class Profile:
    """The shapes that a dynamic engine takes, and the one it is tuned for, each (N, H, W)."""

    smallest: Shape = (1, 64, 64)
    tuned: Shape = (1, 480, 640)
    largest: Shape = (1, 1080, 1920)


@dataclass(frozen=True)
class EngineOptions:
    """runtime: rtx or tensorrt; None for tensorrt where it and a GPU are, else rtx.
    targets: the GPUs to build for, such as sm_86 (rtx only); none for one engine for all.
    optimization_level: 0 to 5; TensorRT's default is 3, 5 for releases.
    profile: for ONNX files with free dimensions; others carry their shape."""

    runtime: str | None = None
    targets: tuple[str, ...] = ()
    optimization_level: int = 3
    profile: Profile = Profile()
    quiet: bool = False


def to_engine(onnx_path: str | Path, options: EngineOptions) -> Path:
    """Build an engine beside its ONNX file: street.fp16.onnx becomes street.fp16.rtx.engine.

    The card goes into the sidecar, with how the engine was built and every warning of TensorRT.

    Raises InputError for a file or options that TensorRT refuses, MissingPackage without it,
    DeviceError if the build fails, KeyboardInterrupt on Ctrl-C.
    """
    onnx_path = existing_file(onnx_path)
    if onnx_path.suffix != ".onnx":
        raise InputError(f"{onnx_path} is not an .onnx file; export the weights first")
    card = read_card(onnx_path)
    trt = tensorrt_api.load(options.runtime or tensorrt_api.default_runtime())
    output = onnx_path.with_suffix(f".{FILE_TAGS[trt.name]}.engine")
    logger = tensorrt_api.make_logger(trt)
    started = time.perf_counter()
    plan = _plan(trt, logger, onnx_path, card, options)
    with written_whole(output) as temporary:
        temporary.write_bytes(plan)
    build = {
        "package": trt.name,
        "version": trt.version,
        "compute_capabilities": _capabilities(trt, options),
        "optimization_level": options.optimization_level,
        "profile": _shapes(card, options.profile),
        "seconds": round(time.perf_counter() - started, 2),
        "warnings": logger.warnings,
    }
    write_sidecar(output, replace(card, parents={"onnx": sha256_of(onnx_path)}), build)
    return output


def _plan(
    trt: TensorRT, logger: CollectingLogger, onnx_path: Path, card: Card, options: EngineOptions
) -> memoryview:
    """The serialized engine."""
    builder = trt.module.Builder(logger)
    network = builder.create_network(_network_flags(trt))
    _parse(trt, logger, network, onnx_path)
    config = builder.create_builder_config()
    config.builder_optimization_level = options.optimization_level
    config.profiling_verbosity = trt.module.ProfilingVerbosity.DETAILED
    _set_targets(trt, config, options.targets)
    if _is_dynamic(card):
        _add_profile(builder, network, config, options.profile)
    with BuildProgress(trt, onnx_path.name, options.quiet) as progress:
        config.progress_monitor = progress.monitor
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise DeviceError(
            f"{trt.title} could not build {onnx_path.name}: {tensorrt_api.reason(logger)}"
        )
    return memoryview(plan)


def _network_flags(trt: TensorRT) -> int:
    """Strong typing has to be asked for in TensorRT 10; later it is all there is."""
    flags = trt.module.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0


def _parse(trt: TensorRT, logger: CollectingLogger, network: Any, onnx_path: Path) -> None:
    parser = trt.module.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        first = f"node {errors[0].node_name() or errors[0].node()} " if errors else ""
        text = " ".join(errors[0].desc().split()) if errors else tensorrt_api.reason(logger)
        raise InputError(f"{trt.title} cannot parse {onnx_path}: {first}{text}")


def _set_targets(trt: TensorRT, config: Any, targets: tuple[str, ...]) -> None:
    if not targets:
        return
    if not hasattr(trt.module, "ComputeCapability"):
        raise InputError(
            f"--target is TensorRT-RTX's; {trt.title} builds for the GPU it runs on. Leave it out"
        )
    known = trt.module.ComputeCapability
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        name = target.upper().replace("_", "")
        if not target.startswith("sm_") or not hasattr(known, name):
            names = [n.replace("SM", "sm_") for n in dir(known) if n.startswith("SM")]
            raise InputError(f"target '{target}' is unknown; expected some of {', '.join(names)}")
        config.set_compute_capability(getattr(known, name), index)


def _add_profile(builder: Any, network: Any, config: Any, profile: Profile) -> None:
    frames = builder.create_optimization_profile()
    shapes = [(*shape, 3) for shape in (profile.smallest, profile.tuned, profile.largest)]
    frames.set_shape(network.get_input(0).name, *shapes)
    if config.add_optimization_profile(frames) < 0:
        raise InputError(
            f"TensorRT refuses the profile {shapes}; expected smallest ≤ tuned ≤ largest"
        )


def _is_dynamic(card: Card) -> bool:
    return card.input_shape is None or None in card.input_shape


def _shapes(card: Card, profile: Profile) -> list[Any]:
    """[smallest, tuned, largest], each [N, H, W]."""
    if card.input_shape is None or _is_dynamic(card):
        return [profile.smallest, profile.tuned, profile.largest]
    return [card.input_shape[:3]] * 3


def _capabilities(trt: TensorRT, options: EngineOptions) -> list[str]:
    """What the engine is bound to: RTX's default is one engine for all GPUs that it knows."""
    if trt.name == "rtx":
        return list(options.targets)
    from runtime.cuda import current_device  # only TensorRT proper needs CUDA to build

    return [current_device().compute_capability]
