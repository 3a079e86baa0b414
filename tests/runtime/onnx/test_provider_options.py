"""What providers are asked for: precisions of the card, caches of this very file, no silent CPU."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from tiny_models import write_model

from runtime.onnx.provider_options import NO_FALLBACK, provider_options, session_settings


@pytest.mark.parametrize(
    ("precision", "flags"),
    [
        ("fp32", set()),
        ("fp16", {"trt_fp16_enable"}),
        ("bf16", {"trt_bf16_enable"}),
        ("int8", {"trt_fp16_enable", "trt_int8_enable"}),
    ],
)
def test_tensorrt_may_use_the_precisions_of_the_card(
    model: Path, precision: str, flags: set[str]
) -> None:
    options = provider_options("tensorrt", model, precision)
    asked = {name for name in options if name.endswith("_enable") and "cache" not in name}
    assert asked == flags
    assert {options[name] for name in flags} <= {"1"}


def test_fp32_is_fp32_on_cuda_and_the_cpu_is_asked_for_nothing(model: Path) -> None:
    assert provider_options("cuda", model, "fp32") == {"use_tf32": "0"}
    assert provider_options("cpu", model, "fp32") == {}


@pytest.mark.parametrize(
    ("provider", "key"), [("tensorrt", "trt_engine_cache_path"), ("rtx", "nv_runtime_cache_path")]
)
def test_a_file_with_other_weights_has_another_cache(
    tmp_path: Path, provider: str, key: str
) -> None:
    path = write_model(tmp_path / "street.onnx")
    before = provider_options(provider, path, "fp32")[key]
    assert Path(before).parent == tmp_path
    assert provider_options(provider, path, "fp32")[key] == before
    proto = onnx.load(path)
    proto.producer_name = "another"
    onnx.save(proto, path)
    assert provider_options(provider, path, "fp32")[key] != before
    assert {entry.name for entry in tmp_path.iterdir()} == {"street.onnx"}


def test_a_node_left_to_the_cpu_is_an_error_for_a_file_of_one_size_alone(
    model: Path, tmp_path: Path
) -> None:
    proto, path = onnx.load(model), tmp_path / "one_size.onnx"
    assert session_settings("cuda", model) == {}  # the tiny model takes any size
    for dim, size in zip(
        proto.graph.input[0].type.tensor_type.shape.dim, (1, 24, 32, 3), strict=True
    ):
        dim.dim_value = size
    onnx.save(proto, path)
    for provider in ("cuda", "tensorrt", "rtx"):
        assert session_settings(provider, path) == {NO_FALLBACK: "1"}
    assert session_settings("cpu", path) == {}
