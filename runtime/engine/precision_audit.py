"""In which precision does each layer run, and which Q/DQ cost a kernel of their own?

Two sources, the stronger first: TensorRT's inspector, which needs a GPU; the plan of a TensorRT-RTX
engine, whose compiled program is text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runtime import tensorrt_api
from runtime.engine.plan import WEIGHTED, Plan, read_plan
from runtime.errors import DeviceError
from runtime.precisions import Audit, Layer

MARK = re.compile(r"\[ONNX Layer: ([^\]]*)\]")


def audit_rtx_plan(path: Path) -> Audit | None:
    """What TensorRT-RTX compiled, read off the plan's text; None if it holds no program."""
    plan = read_plan(path)
    return None if plan is None else audit_plan(plan)


def audit_plan(plan: Plan) -> Audit:
    conversions = [
        kernel.name
        for kernel in plan.kernels
        if kernel.kind == "function" and kernel.nodes and all(map(_converts, kernel.nodes))
    ]
    return Audit(
        "the text of the plan: what TensorRT-RTX compiled, not yet for a GPU",
        tuple(
            Layer(kernel.name, WEIGHTED[kernel.kind], kernel.reads, kernel.nodes, kernel.writes)
            for kernel in plan.weighted
        ),
        tuple(conversions),
    )


def _converts(node: str) -> bool:
    return node.endswith(("_quantize", "_dequantize", "QuantizeLinear", "DequantizeLinear"))


def audit_inspector(text: str) -> Audit:
    """What TensorRT's inspector says, as JSON, of an engine built with detailed layers."""
    entries = json.loads(text).get("Layers", [])
    entries = [entry for entry in entries if isinstance(entry, dict)]  # else names alone
    layers = [_inspected(entry) for entry in entries if _is_weighted(entry)]
    conversions = [
        str(entry.get("Name"))
        for entry in entries
        if (nodes := MARK.findall(str(entry.get("Metadata", "")))) and all(map(_converts, nodes))
    ]
    return Audit("TensorRT's inspector: what runs on this GPU", tuple(layers), tuple(conversions))


def _is_weighted(entry: Mapping[str, Any]) -> bool:
    kind = f"{entry.get('LayerType', '')} {entry.get('ParameterType', '')}".lower()
    return any(word in kind for word in ("conv", "gemm", "matrixmultiply", "fullyconnected"))


def _inspected(entry: Mapping[str, Any]) -> Layer:
    nodes = tuple(MARK.findall(str(entry.get("Metadata", ""))))
    inputs: Iterable[Mapping[str, Any]] = entry.get("Inputs", [])
    formats = [str(tensor.get("Format/Datatype", "")) for tensor in inputs]
    precision = _format_type(formats[0]) if formats else "unknown"
    return Layer(str(entry.get("Name")), str(entry.get("LayerType")), precision, nodes)


def _format_type(words: str) -> str:
    """Half, or "Thirty-two wide channel vectorized row major Int8 format"."""
    text = words.lower()
    for word, precision in (
        ("int8", "int8"),
        ("bf16", "bf16"),
        ("bfloat16", "bf16"),  # before float, which it ends with
        ("fp16", "fp16"),
        ("half", "fp16"),
        ("fp32", "fp32"),
        ("float", "fp32"),
    ):
        if word in text:
            return precision
    return words or "unknown"


def inspect_engine(path: Path, package: str, *, version_compatible: bool = False) -> Audit:
    """Load the engine on this GPU and ask the inspector; DeviceError if TensorRT cannot load it.

    version_compatible: it carries a runtime of its own, which TensorRT may execute.
    """
    return audit_inspector(inspector_json(path, package, version_compatible=version_compatible))


def inspector_json(path: Path, package: str, *, version_compatible: bool = False) -> str:
    """The inspector's own words, for inspect_engine."""
    trt = tensorrt_api.load_for_running(package, version_compatible=version_compatible)
    logger = tensorrt_api.make_logger(trt)
    runtime = tensorrt_api.made(trt, trt.module.Runtime, logger)
    if version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise DeviceError(f"TensorRT cannot load {path.name}: {tensorrt_api.reason(logger)}")
    inspector = engine.create_engine_inspector()
    return str(inspector.get_engine_information(trt.module.LayerInformationFormat.JSON))
