"""Which layer runs in which precision, read off the inspector, a real RTX plan, and ONNX files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_models import CARD

from runtime import tensorrt_api
from runtime.app.inspect import inspect_file
from runtime.card import sidecar_path, write_sidecar
from runtime.cuda import gpu
from runtime.engine.precision_audit import (
    Audit,
    audit_inspector,
    audit_rtx_plan,
    inspect_engine,
    inspector_json,
)
from runtime.onnx.requested_precisions import audit_onnx

CHANNELS = 16


def quantized(node: str, source: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node(
            "QuantizeLinear", [source, "scale", "zero"], [f"{source}_q"], f"{node}_quantize"
        ),
        helper.make_node(
            "DequantizeLinear",
            [f"{source}_q", "scale", "zero"],
            [f"{source}_d"],
            f"{node}_dequantize",
        ),
    ]


@pytest.fixture
def three_convolutions(tmp_path: Path) -> Path:
    """One in FP32, one in FP16, one in INT8, and a Q/DQ pair that no convolution follows."""
    weight = np.random.default_rng(0).normal(size=(CHANNELS, CHANNELS, 3, 3))
    arrays = {
        "weight": weight.astype(np.float32),
        "weight_half": weight.astype(np.float16),
        "scale": np.float16(0.1),
        "zero": np.int8(0),
    }
    shape = (1, CHANNELS, 32, 32)
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["a"], "in_fp32", pads=[1] * 4),
        helper.make_node("Cast", ["a"], ["a16"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["a16", "weight_half"], ["b"], "in_fp16", pads=[1] * 4),
        *quantized("features", "b"),
        *quantized("weight", "weight_half"),
        helper.make_node("Conv", ["b_d", "weight_half_d"], ["c"], "in_int8", pads=[1] * 4),
        *quantized("loose", "c"),
        helper.make_node("Cast", ["c_d"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "three",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    path = tmp_path / "three.int8.onnx"
    onnx.save(model, path)
    return path


def by_name(audit: Audit) -> dict[str, str]:
    return {layer.name: layer.precision for layer in audit.weighted}


EXPECTED = {"in_fp32": "fp32", "in_fp16": "fp16", "in_int8": "int8"}


def test_an_onnx_file_shows_what_is_asked_for(three_convolutions: Path) -> None:
    audit = audit_onnx(three_convolutions)
    assert by_name(audit) == EXPECTED
    assert audit.conversions == ("loose_dequantize",)
    assert audit.source.endswith("not what it runs")


def built(onnx_file: Path, package: str) -> Path:
    """A real engine of it; with TensorRT-RTX, without a GPU."""
    from export.building.builder_config import configure, network_flags
    from export.building.engine_options import EngineOptions
    from export.building.onnx_parser import parse

    trt = tensorrt_api.load(package)
    logger = tensorrt_api.make_logger(trt)
    builder = trt.module.Builder(logger)
    network, config = builder.create_network(network_flags(trt)), builder.create_builder_config()
    configure(trt, config, EngineOptions())
    parse(trt, logger, network, onnx_file)
    path = onnx_file.with_name(f"three.int8.{package}.engine")
    path.write_bytes(memoryview(builder.build_serialized_network(network, config)))
    capabilities = [gpu.current_device().compute_capability] if package == "tensorrt" else []
    build = {"package": package, "version": trt.version, "compute_capabilities": capabilities}
    write_sidecar(path, CARD, build)
    return path


@pytest.fixture
def plan(three_convolutions: Path) -> Path:
    if not tensorrt_api.is_installed("rtx"):
        pytest.skip("TensorRT-RTX is not installed")
    return built(three_convolutions, "rtx")


def test_a_plan_shows_what_was_compiled(plan: Path) -> None:
    audit = audit_rtx_plan(plan)
    assert audit is not None
    assert by_name(audit) == EXPECTED
    assert "features_quantize" in audit.conversions
    assert "the text of the plan" in audit.source


def test_a_file_without_a_program_shows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "no.engine"
    path.write_bytes(b"stands for an engine\nmain {\n nothing that is known\n}\n")
    assert audit_rtx_plan(path) is None
    path.write_bytes(b"no program at all")
    assert audit_rtx_plan(path) is None


def test_inspect_prints_the_audit_and_what_it_was_read_off(plan: Path) -> None:
    if tensorrt_api.gpu_present():
        pytest.skip("this machine has a GPU: the inspector answers")
    facts = inspect_file(plan)
    assert facts["precisions"].startswith("of 3 weighted layers: ")
    assert facts["Q/DQ not fused"].partition(":")[0].isdecimal()
    assert "the text of the plan" in facts["read off"]
    assert facts["this machine"].startswith("cannot tell: ")
    assert plan.name in facts["this machine"]
    assert "invalid" not in facts["this machine"]
    assert sidecar_path(plan).exists()


def layer(kind: str, datatype: str, metadata: str) -> dict[str, object]:
    tensor = {"Name": "x", "Format/Datatype": datatype}
    return {
        "Name": metadata,
        "LayerType": kind,
        "Inputs": [tensor],
        "Outputs": [tensor],
        "Metadata": "\x1f".join(f"[ONNX Layer: {name}]" for name in metadata.split("+")),
    }


def test_the_inspectors_json_is_understood_as_it_was_and_is() -> None:
    old = "Thirty-two wide channel vectorized row major Int8 format"
    text = json.dumps(
        {
            "Layers": [
                layer("CaskConvolution", old, "conv_1+relu_1"),
                layer("convolution", "Half", "conv_2"),
                layer("CaskGemmConvolution", "Row major linear FP32", "conv_3"),
                layer("Reformat", "Int8", "features_quantize"),
                layer("kgen", "Half", "add_1"),
            ],
            "Bindings": ["x", "y"],
        }
    )
    audit = audit_inspector(text)
    assert by_name(audit) == {"conv_1+relu_1": "int8", "conv_2": "fp16", "conv_3": "fp32"}
    assert audit.weighted[0].nodes == ("conv_1", "relu_1")
    assert audit.conversions == ("features_quantize",)
    assert audit.precisions == {"int8": 1, "fp16": 1, "fp32": 1}


def test_an_engine_without_detailed_layers_shows_none() -> None:
    assert audit_inspector(json.dumps({"Layers": ["conv_1", "conv_2"]})).weighted == ()


def test_an_inspector_that_tells_nothing_gives_way_to_the_plan(
    plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names_alone(path: Path, package: str, *, version_compatible: bool) -> Audit:
        assert (path, package, version_compatible) == (plan, "rtx", False)
        return audit_inspector(json.dumps({"Layers": ["conv_1", "conv_2"]}))

    monkeypatch.setattr("runtime.app.inspect.check_machine", lambda *_: None)
    monkeypatch.setattr("runtime.app.inspect.inspect_engine", names_alone)
    assert "the text of the plan" in inspect_file(plan)["read off"]


@pytest.mark.gpu
@pytest.mark.parametrize("package", ["tensorrt", "rtx"])
def test_the_inspector_of_a_gpu_answers(
    package: str, three_convolutions: Path, request: pytest.FixtureRequest
) -> None:
    if not tensorrt_api.gpu_present():
        pytest.skip("no GPU")
    if not tensorrt_api.is_installed(package):
        pytest.skip(f"{package} is not installed")
    if package == "rtx":
        request.getfixturevalue("rtx_runs")
    path = built(three_convolutions, package)
    text = inspector_json(path, package)
    assert json.loads(text)["Layers"], text
    audit = inspect_engine(path, package)
    assert audit.source.startswith("TensorRT's inspector")
    assert audit.precisions.keys() <= {"fp32", "fp16", "int8"}, text
    # What TensorRT-RTX calls its layers is written nowhere; inspect may have to read the plan.
    assert audit.weighted or package == "rtx", text
    assert inspect_file(path)["precisions"].startswith("of ")
