"""TensorRT is found late, its messages are kept, and only names of every release are used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_tensorrt import fake_tensorrt

from runtime import tensorrt_api
from runtime.errors import DeviceError, InputError, MissingPackage
from runtime.tensorrt_api import make_logger, reason

SOURCE = Path(tensorrt_api.__file__).with_name("engine.py").read_text(encoding="utf-8")
USED = {
    "ICudaEngine": set(re.findall(r"engine\.((?:get|create|num)_\w+)", SOURCE)),
    "IExecutionContext": set(re.findall(r"_context\.(\w+)", SOURCE)),
    "Runtime": set(re.findall(r"_runtime\.(\w+)", SOURCE)),
}


def missing_names(api: Path) -> set[str]:
    """The names that runtime/engine.py uses and this release does not have."""
    classes = json.loads(api.read_text())["classes"]
    return {f"{kind}.{name}" for kind, names in USED.items() for name in names - set(classes[kind])}


def test_every_release_has_the_names_that_the_engine_uses(shared: Path) -> None:
    releases = sorted((shared / "reference/tensorrt-api").glob("*.json"))
    assert len(releases) >= 5
    assert {path.stem: missing_names(path) for path in releases if missing_names(path)} == {}
    assert {"execute_async_v3", "set_tensor_address"} <= USED["IExecutionContext"]


def test_the_check_sees_a_name_that_is_gone(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(USED, "ICudaEngine", {"device_memory_size"})
    latest = shared / "reference/tensorrt-api/11.4.0.106.json"
    assert missing_names(latest) == {"ICudaEngine.device_memory_size"}


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(InputError, match="runtime 'trt' is unknown; expected one of tensorrt, rtx"):
        tensorrt_api.load("trt")


@pytest.mark.parametrize("name", ["tensorrt", "rtx"])
def test_a_missing_package_says_what_to_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_api, "find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match=rf"pip install 'refinenet-deploy\[{name}\]'"):
        tensorrt_api.load(name)


def test_a_package_that_cannot_be_loaded_is_a_device_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_tensorrt.py").write_text("raise OSError('libnvinfer.so.10: not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tensorrt_api, "MODULES", {"tensorrt": "broken_tensorrt"})
    with pytest.raises(DeviceError, match=r"libnvinfer\.so\.10: not found"):
        tensorrt_api.load("tensorrt")


def test_rtx_is_the_default_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_api, "is_installed", lambda _: True)
    monkeypatch.setattr(tensorrt_api, "gpu_present", lambda: False)
    assert tensorrt_api.default_runtime() == "rtx"
    monkeypatch.setattr(tensorrt_api, "gpu_present", lambda: True)
    assert tensorrt_api.default_runtime() == "tensorrt"


def test_the_logger_keeps_each_warning_and_error_once() -> None:
    logger: Any = make_logger(fake_tensorrt((1, 2, 2, 3)))
    assert reason(logger) == "TensorRT gives no reason"
    for level, message in ((2, "slow"), (2, "slow"), (3, "chatter"), (1, "bad"), (0, "worse\nyet")):
        logger.log(level, message)
    assert (logger.warnings, logger.errors) == (["slow"], ["bad", "worse\nyet"])
    assert reason(logger) == "worse yet"


def test_the_real_package_takes_the_logger() -> None:
    if not tensorrt_api.is_installed("rtx"):
        pytest.skip("tensorrt_rtx is not installed")
    trt = tensorrt_api.load("rtx")
    logger = make_logger(trt)
    assert trt.module.Runtime(logger).deserialize_cuda_engine(b"no engine at all") is None
    assert logger.errors
