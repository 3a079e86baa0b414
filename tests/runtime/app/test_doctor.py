"""The doctor names what is installed, whichever of its kinds that is."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from runtime import tensorrt_api
from runtime.app import doctor
from runtime.app.doctor import Finding, examine
from runtime.cuda import gpu
from runtime.errors import DeviceError
from runtime.installing import install


def found(name: str) -> Finding:
    return next(finding for finding in examine() if finding.name == name)


def test_pycuda_alone_is_cuda_bindings_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gpu() -> gpu.Device:
        raise DeviceError("cuInit failed: no device. See what is missing: refinenet doctor")

    monkeypatch.setattr(gpu, "find_spec", lambda name: name == "pycuda" or None)
    monkeypatch.setattr(gpu, "current_device", no_gpu)
    assert found("CUDA bindings").present
    assert found("CUDA bindings").found.startswith("pycuda")
    assert found("GPU") == Finding("GPU", False, "cuInit failed: no device", found("GPU").mend)


@pytest.mark.parametrize(
    ("bindings", "driver"),
    [
        ("13.4.4", "driver, 580 or newer for CUDA 13; without"),
        ("12.9.1", "driver, 525 or newer for CUDA 12; without"),
        (None, "driver; without"),  # PyCUDA's CUDA is the one that it was compiled with
    ],
)
def test_without_a_gpu_it_names_the_driver_that_cuda_needs(
    monkeypatch: pytest.MonkeyPatch, bindings: str | None, driver: str
) -> None:
    def too_old() -> gpu.Device:
        raise DeviceError("cudaGetDeviceCount failed: CUDA driver version is insufficient")

    monkeypatch.setattr(gpu, "find_spec", lambda name: name == "pycuda" or None)
    monkeypatch.setattr(gpu, "current_device", too_old)
    monkeypatch.setattr(doctor, "_version", lambda _: bindings)
    assert found("GPU").mend.startswith(f"install NVIDIA's {driver} a GPU")


def test_without_cuda_bindings_it_says_which_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_spec", lambda _: None)
    assert "[cuda13]'" in found("CUDA bindings").mend
    assert found("GPU").found == "unknown without the CUDA bindings"


def test_a_gpu_that_rtx_is_not_meant_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    jetson = gpu.Device("Orin", "sm_87", "12.6", 8 * 2**30, integrated=True)
    monkeypatch.setattr(gpu, "current_device", lambda: jetson)
    monkeypatch.setattr(gpu, "find_spec", lambda name: name == "pycuda" or None)
    assert found("GPU").found == "Orin, sm_87, 8 GiB, driver for CUDA 12.6"
    assert found("RTX engines here") == Finding(
        "RTX engines here",
        False,
        "sm_87 is not listed by NVIDIA: TensorRT-RTX may refuse it",
        f"full TensorRT: {install('tensorrt')}; or .onnx files on ONNX Runtime: --provider cuda",
    )


def test_a_gpu_that_rtx_is_meant_for_needs_nothing_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    desktop = gpu.Device("NVIDIA RTX A4000", "sm_86", "13.0", 16 * 2**30, integrated=False)
    monkeypatch.setattr(gpu, "current_device", lambda: desktop)
    monkeypatch.setattr(gpu, "find_spec", lambda name: name == "pycuda" or None)
    assert found("RTX engines here") == Finding("RTX engines here", True, "sm_86 is supported")


def test_a_lean_runtime_is_told_where_it_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    lean = ModuleType("tensorrt_lean")
    lean.__version__ = "10.16.1.11"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt_lean", lean)
    monkeypatch.setattr(tensorrt_api, "find_spec", lambda name: name == "tensorrt_lean" or None)
    assert not found("TensorRT").present
    assert found("TensorRT's lean runtime").found.startswith("TensorRT 10.16.1.11, runs")


def test_onnx_runtime_names_its_providers() -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    assert ", compiled for cpu" in doctor.examine()[1].found
