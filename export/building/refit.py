"""Weights of an ONNX file into an engine that was built refittable, or stripped of its own.

It runs on the GPU: TensorRT arranges the weights as its kernels want them there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime import tensorrt_api
from runtime.card import Card, check_external_data, check_hash, read_card, write_sidecar
from runtime.engine.compatibility import check_release_and_gpu
from runtime.errors import DeviceError, InputError
from runtime.files import existing_file, only_writer, sha256_of, written_whole
from runtime.tensorrt_api import CollectingLogger, TensorRT


def refit(engine_path: Path, onnx_path: Path) -> Path:
    """Fill the engine with the weights of the ONNX file, in place; its card names the new parent.

    A stripped engine takes back those it was built from alone, and becomes an embedded one.

    Raises InputError for an engine or an ONNX file that does not fit, EngineMismatch or DeviceError
    if this machine cannot run the engine or TensorRT refuses the weights.
    """
    engine_path, onnx_path = existing_file(engine_path), existing_file(onnx_path)
    sidecar = check_hash(engine_path)
    kind = sidecar.build.get("weights", "embedded")
    if kind == "embedded":
        raise InputError(
            f"{engine_path} was not built to be refitted; build it with --weights refittable"
        )
    parent = sha256_of(onnx_path)
    if kind == "stripped" and sidecar.card.parents.get("onnx") != parent:
        raise InputError(
            f"{engine_path} was stripped of the weights of another file than {onnx_path}; "
            "give the one that it was built from"
        )
    card = read_card(onnx_path)
    check_external_data(onnx_path, card)
    _check_same_network(engine_path, sidecar.card, onnx_path, card)
    check_release_and_gpu(engine_path, sidecar.build)
    trt = tensorrt_api.load(sidecar.build["package"])
    plan = _refitted(trt, tensorrt_api.make_logger(trt), engine_path, onnx_path)
    card = replace(card, parents={"onnx": parent})
    build = {**sidecar.build, "weights": "embedded" if kind == "stripped" else kind}
    with only_writer(engine_path.parent):
        with written_whole(engine_path) as temporary:
            temporary.write_bytes(plan)
        write_sidecar(engine_path, card, build)
    return engine_path


def _check_same_network(engine_path: Path, engine: Card, onnx_path: Path, card: Card) -> None:
    """InputError if the engine takes other frames or gives other results than the ONNX file."""
    for name in ("precision", "input_shape", "output_kind"):
        built, given = getattr(engine, name), getattr(card, name)
        if built != given:
            raise InputError(
                f"{engine_path} was built with {name} {built}, and {onnx_path} has {given}; refit "
                "with weights that were exported alike, or build the engine anew"
            )


def _refitted(
    trt: TensorRT, logger: CollectingLogger, engine_path: Path, onnx_path: Path
) -> memoryview:
    """The serialized engine with its new weights."""
    runtime = tensorrt_api.made(trt, trt.module.Runtime, logger)
    engine = _made(runtime.deserialize_cuda_engine(engine_path.read_bytes()), engine_path, logger)
    refitter = trt.module.Refitter(engine, logger)
    parser_refitter = trt.module.OnnxParserRefitter(refitter, logger)
    if not parser_refitter.refit_from_file(str(onnx_path)) or not refitter.refit_cuda_engine():
        missing = ", ".join(refitter.get_missing_weights()[:3])
        raise DeviceError(
            f"TensorRT does not take the weights of {onnx_path} into {engine_path.name}: "
            f"{tensorrt_api.reason(logger)}" + (f"; missing are {missing}" if missing else "")
        )
    config = engine.create_serialization_config()
    config.clear_flag(trt.module.SerializationFlag.EXCLUDE_WEIGHTS)
    # 10.16 and later leave out what a next refit needs, unless it is asked for.
    if hasattr(trt.module.SerializationFlag, "INCLUDE_REFIT"):
        config.set_flag(trt.module.SerializationFlag.INCLUDE_REFIT)
    return memoryview(_made(engine.serialize_with_config(config), engine_path, logger))


def _made(thing: Any, path: Path, logger: CollectingLogger) -> Any:
    """What TensorRT made, which is None where it failed."""
    if thing is None:
        raise DeviceError(f"TensorRT cannot refit {path.name}: {tensorrt_api.reason(logger)}")
    return thing
