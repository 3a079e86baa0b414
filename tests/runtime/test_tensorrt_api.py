"""TensorRT is found late, under whichever name it has, and its messages are kept."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from runtime import tensorrt_api
from runtime.errors import DeviceError, InputError, MissingPackage
from runtime.tensorrt_api import TensorRT, make_logger, reason


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(InputError, match="runtime 'trt' is unknown; expected one of tensorrt, rtx"):
        tensorrt_api.load("trt")


@pytest.mark.parametrize("name", ["tensorrt", "rtx"])
def test_a_missing_package_says_what_to_type(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_api, "find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match=rf"pip install '.*\[{name}\]'"):
        tensorrt_api.load(name)


def test_a_package_that_cannot_be_loaded_is_a_device_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_tensorrt.py").write_text("raise OSError('libnvinfer.so.10: not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(tensorrt_api, "MODULES", {"tensorrt": "broken_tensorrt"})
    with pytest.raises(DeviceError, match=r"libnvinfer\.so\.10: not found"):
        tensorrt_api.load("tensorrt")


@pytest.mark.parametrize("name", ["tensorrt_lean", "tensorrt_dispatch"])
def test_a_lean_runtime_serves_version_compatible_engines_alone(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = ModuleType(name)
    module.__version__ = "10.16.1.11"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(tensorrt_api, "find_spec", lambda wanted: wanted == name or None)
    trt = tensorrt_api.load_for_running("tensorrt", version_compatible=True)
    assert trt == TensorRT("tensorrt", "10.16.1.11", module)
    with pytest.raises(MissingPackage, match=r"pip install '.*\[tensorrt\]'"):
        tensorrt_api.load_for_running("tensorrt", version_compatible=False)


def test_without_any_runtime_the_full_package_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensorrt_api, "find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match=r"pip install '.*\[tensorrt\]'"):
        tensorrt_api.load_for_running("tensorrt", version_compatible=True)


def test_rtx_is_the_default_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_api, "is_installed", lambda _: True)
    monkeypatch.setattr(tensorrt_api, "gpu_present", lambda: False)
    assert tensorrt_api.default_runtime() == "rtx"
    monkeypatch.setattr(tensorrt_api, "gpu_present", lambda: True)
    assert tensorrt_api.default_runtime() == "tensorrt"


def test_the_logger_keeps_each_warning_and_error_once() -> None:
    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

    module = SimpleNamespace(ILogger=ILogger)
    logger: Any = make_logger(TensorRT("tensorrt", "11.4.0", module))
    assert reason(logger) == "TensorRT gives no reason"
    for level, message in ((2, "slow"), (2, "slow"), (3, "chatter"), (0, "worse\nyet"), (1, "bad")):
        logger.log(level, message)
    assert (logger.warnings, logger.errors) == (["slow"], ["worse\nyet", "bad"])
    logger.log(0, "worse\nyet")
    assert logger.errors == ["bad", "worse\nyet"]
    assert reason(logger) == "worse yet"
    assert reason(logger) == "TensorRT gives no reason"


def test_the_real_package_takes_the_logger() -> None:
    if not tensorrt_api.is_installed("rtx"):
        pytest.skip("tensorrt_rtx is not installed")
    trt = tensorrt_api.load("rtx")
    logger = make_logger(trt)
    assert trt.module.Runtime(logger).deserialize_cuda_engine(b"no engine at all") is None
    assert logger.errors


def test_a_factory_that_makes_nothing_is_a_device_error_with_tensorrts_reason() -> None:
    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

    trt = TensorRT("tensorrt", "11.4.0", SimpleNamespace(ILogger=ILogger))
    logger: Any = make_logger(trt)

    def builder(_: object) -> object:  # as pybind11 does it
        logger.log(1, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    with pytest.raises(DeviceError, match=r"cannot start: CUDA initialization failure.*35"):
        tensorrt_api.made(trt, builder, logger)
    assert tensorrt_api.made(trt, lambda given: [given], logger) == [logger]
