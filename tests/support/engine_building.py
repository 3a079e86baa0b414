"""An engine of the tiny model, built with TensorRT's own calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_models import CARD

from runtime import tensorrt_api
from runtime.card import write_sidecar
from runtime.cuda import gpu


def built(onnx_file: Path, runtime_name: str, profile: tuple[Any, ...] | None = None) -> Path:
    """Build it for the GPU at hand, if there is one, with its sidecar.

    profile: the smallest, the usual and the largest shape of a model with free dimensions.
    """
    trt = tensorrt_api.load(runtime_name)
    logger = tensorrt_api.make_logger(trt)
    builder = trt.module.Builder(logger)
    strongly_typed = 1 << int(trt.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = trt.module.OnnxParser(network, logger)
    assert parser.parse(onnx_file.read_bytes()), logger.errors
    config = builder.create_builder_config()
    if profile is not None:
        shapes = builder.create_optimization_profile()
        shapes.set_shape("frame", *profile)
        assert config.add_optimization_profile(shapes) >= 0
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, logger.errors
    path = onnx_file.with_name(f"toy.fp32.{runtime_name}.engine")
    path.write_bytes(plan)
    capabilities: list[str] = []
    if tensorrt_api.gpu_present():
        capabilities = [gpu.current_device().compute_capability]
    build = {
        "package": runtime_name,
        "version": trt.version,
        "compute_capabilities": capabilities,
    }
    write_sidecar(path, CARD, build)
    return path
