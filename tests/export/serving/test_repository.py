"""The folder that is written for Triton: whole, readable by Triton's own schema, or not there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_files import write_engine
from tiny_models import CARD, brightest_channel, write_model

from export.serving.candidate import FRAMES, MASKS
from export.serving.repository import triton_repository
from export.serving.serving_plan import TritonOptions
from refinenet.__main__ import main
from runtime.card import Card, parse_card
from runtime.errors import InputError
from runtime.files import sha256_of
from runtime.segmenter import Segmenter

PROFILE = ((1, 64, 64), (4, 360, 480), (16, 720, 1280))


def config_of(folder: Path) -> Any:
    """config.pbtxt, parsed by Triton's own schema, as tritonclient has it."""
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def card_in(config: Any) -> Card:
    return parse_card(config.parameters["card"].string_value, Path("config.pbtxt"))


@pytest.fixture
def dynamic(tmp_path: Path) -> Path:
    return write_model(tmp_path / "street.fp32.onnx")


def test_a_repository_for_onnx_runtime_is_complete(dynamic: Path, tmp_path: Path) -> None:
    options = TritonOptions(tmp_path / "repository", "street", 6, size=(96, 128))
    folder = triton_repository(dynamic, options)
    assert folder == tmp_path / "repository/street"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {"config.pbtxt", "README.md", "smoke_test.py", "1/model.onnx"}
    assert (folder / "1/model.onnx").read_bytes() == dynamic.read_bytes()
    config = config_of(folder)
    assert (config.name, config.backend, config.max_batch_size) == ("street", "onnxruntime", 6)
    assert list(config.input[0].dims) == [96, 128, 3]
    assert (config.input[0].name, config.output[0].name) == ("frame", "mask")
    assert list(config.output[0].dims) == [96, 128]
    assert list(config.dynamic_batching.preferred_batch_size) == [3, 6]
    queue = config.dynamic_batching.default_queue_policy
    assert (queue.max_queue_size, queue.default_timeout_microseconds) == (64, 1_000_000)
    assert queue.timeout_action == queue.REJECT
    assert config.model_warmup[0].inputs["frame"].zero_data
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert accelerator.parameters["trt_profile_max_shapes"] == "frame:6x96x128x3"
    assert config.parameters["sha256"].string_value == sha256_of(dynamic)


def test_the_card_travels_in_the_configuration(tmp_path: Path) -> None:
    from dataclasses import replace

    odd = replace(CARD, license_note='Straße "A", C:\\x\nnew', details={"list": [1, {"a": "ü"}]})
    model = write_model(tmp_path / "street.onnx", (1, 8, 8, 3), odd)
    config = config_of(triton_repository(model, TritonOptions(tmp_path / "repository")))
    assert card_in(config) == replace(odd, input_shape=(1, 8, 8, 3), output_kind="mask")


def test_a_static_file_has_no_batch_dimension_of_the_servers(tmp_path: Path) -> None:
    model = write_model(tmp_path / "street.onnx", (1, 120, 160, 3))
    config = config_of(triton_repository(model, TritonOptions(tmp_path / "repository")))
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [1, 120, 160, 3]
    assert not config.dynamic_batching.preferred_batch_size
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 64
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert "trt_profile_max_shapes" not in accelerator.parameters


def test_any_size_has_neither_warm_up_nor_accelerator(dynamic: Path, tmp_path: Path) -> None:
    config = config_of(triton_repository(dynamic, TritonOptions(tmp_path / "repository")))
    assert list(config.input[0].dims) == [-1, -1, 3]
    assert not config.model_warmup
    assert not config.HasField("optimization")


def test_an_engine_becomes_a_plan(tmp_path: Path) -> None:
    engine = write_engine(tmp_path / "street.fp16.trt.engine", PROFILE, version_compatible=True)
    folder = triton_repository(engine, TritonOptions(tmp_path / "repository"))
    assert (folder / "1/model.plan").read_bytes() == engine.read_bytes()
    config = config_of(folder)
    assert (config.backend, config.input[0].name, config.output[0].name) == (
        "tensorrt",
        FRAMES,
        MASKS,
    )
    readme = (folder / "README.md").read_text()
    assert "TensorRT 10.13.3.9" in readme
    assert "version-compatible=true" in readme


def test_the_names_are_those_of_the_export() -> None:
    from export import to_onnx

    assert (FRAMES, MASKS) == (to_onnx.INPUT, to_onnx.MASK)


def test_the_python_backend_gets_an_rtx_engine_with_its_sidecar(tmp_path: Path) -> None:
    engine = write_engine(tmp_path / "street.rtx.engine", PROFILE, package="rtx")
    folder = triton_repository(engine, TritonOptions(tmp_path / "repository"))
    assert (folder / "1/model.engine").is_file()
    sidecar = json.loads((folder / "1/model.card.json").read_text())
    assert (sidecar["build"]["package"], sidecar["sha256"]) == ("rtx", sha256_of(engine))
    assert "class TritonPythonModel" in (folder / "1/model.py").read_text()
    assert config_of(folder).parameters["model_file"].string_value == "model.engine"


def test_a_card_of_the_users_own_wins_over_the_one_inside(tmp_path: Path) -> None:
    from dataclasses import replace

    model = write_model(tmp_path / "street.onnx")
    own = tmp_path / "own.json"
    own.write_text(replace(CARD, classes=("a", "b", "c")).to_json())
    options = TritonOptions(tmp_path / "repository", backend="python", card=own)
    folder = triton_repository(model, options)
    assert card_in(config_of(folder)).classes == ("a", "b", "c")
    file = folder / "1/model.onnx"
    with Segmenter.open(file, card=folder / "1/model.card.json") as segmenter:
        assert segmenter.classes == ("a", "b", "c")


def test_weights_beside_the_file_come_along(tmp_path: Path) -> None:
    from dataclasses import replace

    weights = tmp_path / "street.data"
    weights.write_bytes(b"weights")
    told = {"external_data": {"file": "street.data", "sha256": sha256_of(weights)}}
    model = write_model(tmp_path / "street.onnx", card=replace(CARD, details=told))
    folder = triton_repository(model, TritonOptions(tmp_path / "repository"))
    assert (folder / "1/street.data").read_bytes() == b"weights"


def test_the_copy_is_the_file(dynamic: Path, tmp_path: Path) -> None:
    folder = triton_repository(dynamic, TritonOptions(tmp_path / "repository", "s"))
    frame = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with Segmenter.open(folder / "1/model.onnx") as segmenter:
        np.testing.assert_array_equal(segmenter(frame), brightest_channel(frame))


def test_a_model_is_not_overwritten(dynamic: Path, tmp_path: Path) -> None:
    options = TritonOptions(tmp_path / "repository", "street")
    before = triton_repository(dynamic, options).stat().st_ino
    with pytest.raises(InputError, match="--name"):
        triton_repository(dynamic, options)
    assert (tmp_path / "repository/street").stat().st_ino == before


def test_a_failure_leaves_nothing(
    dynamic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("export.serving.repository.shutil.copyfile", full)
    with pytest.raises(InputError, match="No space left"):
        triton_repository(dynamic, TritonOptions(tmp_path / "repository", "street"))
    assert list((tmp_path / "repository").iterdir()) == []


def test_the_command_says_where_to_go_on(
    dynamic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export-triton", dynamic, "--output", tmp_path / "r", "--name", "street"]
    assert main([*map(str, arguments)]) == 0
    assert str(tmp_path / "r/street/README.md") in capsys.readouterr().out
    assert main([*map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("refinenet export-triton: ")
    assert error.count("\n") == 1


def test_the_docker_line_names_the_model_and_no_open_port(dynamic: Path, tmp_path: Path) -> None:
    folder = triton_repository(dynamic, TritonOptions(tmp_path / "repository", "street"))
    readme = (folder / "README.md").read_text()
    assert "python street/smoke_test.py --model street.fp32.onnx" in readme
    assert "triton://localhost:8001/street" in readme
    assert readme.count("-p 127.0.0.1:") == readme.count("-p ") == 3
