"""ONNX to a TensorRT engine: 10.3 to 11 and TensorRT-RTX alike.

There is no precision here: it lies in the ONNX file, and every network is strongly typed. Neither
torch nor onnx is imported, so that a Jetson builds with the base and its own TensorRT.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from export.building.build_progress import BuildProgress
from export.building.builder_config import configure, network_flags, refuse_on_rtx
from export.building.engine_options import DEFAULT_PROFILE, EngineOptions, Profile, Shape
from export.building.onnx_parser import parse, require_bf16
from runtime import tensorrt_api
from runtime.card import CARD_KEY, Card, check_external_data, needed_card, write_sidecar
from runtime.cuda import gpu
from runtime.engine.plan import read_plan
from runtime.engine.plan_facts import PLAN, plan_facts
from runtime.errors import DeviceError, InputError
from runtime.files import existing_file, only_writer, sha256_of, written_whole
from runtime.metadata import embedded_metadata
from runtime.onnx.frame_file import read_frame_card, require_plain_mask
from runtime.onnx.graph import read_graph
from runtime.onnx.graph_macs import graph_macs
from runtime.tensorrt_api import CollectingLogger, TensorRT

LAST_OPSET = 40  # ONNX 1.23 ends at 28: room for releases to come, none for damaged files

__all__ = ["FILE_TAGS", "EngineOptions", "Profile", "Shape", "to_engine"]

FILE_TAGS = MappingProxyType({"rtx": "rtx", "tensorrt": "trt"})


def to_engine(
    onnx_path: str | Path, options: EngineOptions, card_file: str | Path | None = None
) -> Path:
    """Build an engine beside its ONNX file: street.fp16.onnx becomes street.fp16.rtx.engine.

    The card goes into the sidecar, with how the engine was built and every warning of TensorRT.

    card_file: the card of a file that carries none.

    Raises InputError for a file or options that TensorRT refuses, MissingPackage without it,
    DeviceError if the build fails, KeyboardInterrupt on Ctrl-C.
    """
    onnx_path = existing_file(onnx_path)
    if onnx_path.suffix != ".onnx":
        raise InputError(f"{onnx_path} is not an .onnx file; export the weights first")
    card = card_of(onnx_path, card_file)
    if CARD_KEY not in embedded_metadata(onnx_path):
        require_plain_mask(onnx_path)
    _check_opset(onnx_path)
    check_external_data(onnx_path, card)
    profiles = _profiles(onnx_path, card, options)
    shapes: list[Any] = [_shapes(profile) for profile in profiles]
    if not shapes:
        assert card.input_shape is not None  # or there would be profiles
        shapes = [[card.input_shape[:3]] * 3]
    trt = tensorrt_api.load(options.runtime or tensorrt_api.default_runtime())
    if card.precision == "bf16":
        require_bf16(trt, onnx_path)
    output = onnx_path.with_suffix(f".{FILE_TAGS[trt.name]}.engine")
    logger = tensorrt_api.make_logger(trt)
    started = time.perf_counter()
    cache = _timing_cache(trt, options)
    plan, config = _plan(trt, logger, onnx_path, profiles, options, cache)
    build: dict[str, Any] = {
        "package": trt.name,
        "version": trt.version,
        **_built_for(trt, options),
        "version_compatible": options.version_compatible,
        "weights": options.weights,
        "optimization_level": options.optimization_level,
        "tf32": options.tf32,
        "workspace_mb": options.workspace_mb,
        "profile": shapes[0],
        "further_profiles": shapes[1:],
        "seconds": round(time.perf_counter() - started, 2),
        "warnings": logger.warnings,
    }
    card = replace(card, parents={"onnx": sha256_of(onnx_path)})
    with only_writer(output.parent):
        with written_whole(output) as temporary:
            temporary.write_bytes(plan)
            if trt.name == "rtx":
                build |= _plan_facts(temporary, onnx_path)
            # Before the engine takes its name: a disk that is full leaves the old pair.
            write_sidecar(output, card, build, content=temporary)
        if cache is not None:
            try:
                cache.keep(config)
            except InputError as error:  # the engine is whole, and only the next build is slower
                logger.warnings.append(f"the timing cache was not kept: {error}")
                write_sidecar(output, card, {**build, "warnings": logger.warnings})
    return output


def _check_opset(onnx_path: Path) -> None:
    """TensorRT-RTX's parser takes any number and reads the operators as it knows them."""
    version = read_graph(onnx_path).opsets.get("", 0)
    if version > LAST_OPSET:
        raise InputError(
            f"{onnx_path} has operator set {version}, and none above {LAST_OPSET} is known; "
            "export it again"
        )


def card_of(onnx_path: Path, card_file: str | Path | None) -> Card:
    """The card that an ONNX file is built by: its own, or the given one where it has none."""
    return read_frame_card(onnx_path, needed_card(onnx_path, card_file))


def _plan(
    trt: TensorRT,
    logger: CollectingLogger,
    onnx_path: Path,
    profiles: Sequence[Profile],
    options: EngineOptions,
    cache: Any,
) -> tuple[memoryview, Any]:
    """The serialized engine, and the configuration, which holds the times that were measured."""
    try:
        builder = tensorrt_api.made(trt, trt.module.Builder, logger)
    except DeviceError as error:
        raise DeviceError(f"{error}{_without_gpu(trt, options)}") from error
    config = builder.create_builder_config()
    configure(trt, config, options)
    network = builder.create_network(network_flags(trt))
    parse(trt, logger, network, onnx_path)
    for profile in profiles:
        _add_profile(builder, network, config, profile)
    if cache is not None:
        cache.lend(config)
    with BuildProgress(trt, onnx_path.name, options.quiet) as progress:
        config.progress_monitor = progress.monitor
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise DeviceError(
            f"{trt.title} could not build {onnx_path.name}: {tensorrt_api.reason(logger)}"
            + _without_gpu(trt, options)
        )
    return memoryview(plan), config


def _plan_facts(engine: Path, onnx_path: Path) -> dict[str, Any]:
    """What the plan says of the engine's cost; nothing where its text is not understood."""
    plan = read_plan(engine)
    return {} if plan is None else {PLAN: plan_facts(plan, graph_macs(onnx_path))}


def _without_gpu(trt: TensorRT, options: EngineOptions) -> str:
    """What to do where the missing GPU is the likely cause."""
    if tensorrt_api.gpu_present():
        return ""
    if trt.name == "tensorrt":
        return ". TensorRT builds on the GPU alone, and this machine has none; try --runtime rtx"
    if options.weights != "embedded":
        return f". This machine has no GPU; --weights {options.weights} may need one. Leave it out"
    return ""


def _timing_cache(trt: TensorRT, options: EngineOptions) -> Any:
    if options.timing_cache is None:
        return None
    refuse_on_rtx(trt, "--timing-cache", "it times no kernel while it builds")
    from export.building.timing_cache import TimingCache  # needs a Unix, for its file lock

    device = gpu.current_device()
    return TimingCache(options.timing_cache, trt, f"{device.name} {device.compute_capability}")


def _add_profile(builder: Any, network: Any, config: Any, profile: Profile) -> None:
    frames = builder.create_optimization_profile()
    shapes = [(*shape, 3) for shape in _shapes(profile)]
    frames.set_shape(network.get_input(0).name, *shapes)
    if config.add_optimization_profile(frames) < 0:
        raise InputError(
            f"TensorRT refuses the profile {shapes}; expected smallest ≤ tuned ≤ largest"
        )


def _profiles(onnx_path: Path, card: Card, options: EngineOptions) -> tuple[Profile, ...]:
    """The optimization profiles, the main one first; none for a file with one shape."""
    if card.input_shape is None or None in card.input_shape:
        profiles = (options.profile or DEFAULT_PROFILE, *options.further_profiles)
        return tuple(profile.of_multiples(card.size_multiple) for profile in profiles)
    if options.profile or options.further_profiles:
        raise InputError(
            f"{onnx_path} has one shape, its own; leave --min-shape, --opt-shape, --max-shape and "
            "--profile out"
        )
    return ()


def _shapes(profile: Profile) -> list[Shape]:
    """[smallest, tuned, largest], each (N, H, W)."""
    return [profile.smallest, profile.tuned, profile.largest]


def _built_for(trt: TensorRT, options: EngineOptions) -> dict[str, Any]:
    """The GPUs that may run the engine: RTX's default is one engine for all from sm_80 on."""
    if trt.name == "rtx" and options.targets != ("current",):
        return {"compute_capabilities": list(options.targets), "hardware": "none"}
    device = gpu.current_device()
    return {
        "compute_capabilities": [device.compute_capability],
        "hardware": options.hardware,
        "gpu": device.name,
    }
