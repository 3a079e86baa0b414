"""What this machine can do, and the command that mends what it can't."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import MappingProxyType

from runtime import tensorrt_api
from runtime.cuda import gpu
from runtime.engine.compatibility import RTX_COMPUTE_CAPABILITIES
from runtime.errors import DeployError, MissingPackage
from runtime.installing import install

DISTRIBUTIONS = MappingProxyType({"cuda-python": "cuda-bindings", "pycuda": "pycuda"})
# By CUDA's major version: NVIDIA's table of minor version compatibility.
DRIVERS = MappingProxyType({"12": 525, "13": 580})


@dataclass(frozen=True)
class Finding:
    """One row: what was looked for, whether it is there, what was found, and what mends it."""

    name: str
    present: bool
    found: str
    mend: str = ""


def examine() -> list[Finding]:
    """Look at everything that a stage may need; raises nothing, changes nothing."""
    return [
        Finding("Python", True, platform.python_version()),
        _onnxruntime(),
        _tensorrt("tensorrt"),
        *_lean_runtime(),
        _tensorrt("rtx"),
        *_gpu(),
        _distribution("torch", "train", "training, export from weights, verify"),
        _distribution("onnx", "export", "export, fp16, int8"),
    ]


def _onnxruntime() -> Finding:
    try:
        from runtime.onnx.providers import compiled_providers, onnxruntime_version
    except MissingPackage:
        return Finding("ONNX Runtime", False, "not installed", install("onnxruntime"))
    # Compiled in is all that can be said without a session; CUDA and cuDNN are found only then.
    names = ", ".join(compiled_providers())
    return Finding("ONNX Runtime", True, f"{onnxruntime_version()}, compiled for {names}")


def _tensorrt(runtime: str) -> Finding:
    title = tensorrt_api.TITLES[runtime]
    try:
        return Finding(title, True, tensorrt_api.load(runtime).version)
    except MissingPackage:
        return Finding(title, False, "not installed", install(runtime))
    except DeployError as error:
        return Finding(title, False, str(error))


def _lean_runtime() -> list[Finding]:
    """TensorRT's lean or dispatch runtime, where it stands in for the full package."""
    if tensorrt_api.is_installed("tensorrt"):
        return []
    try:
        trt = tensorrt_api.load_for_running("tensorrt", version_compatible=True)
    except MissingPackage:
        return []
    except DeployError as error:
        return [Finding("TensorRT's lean runtime", False, str(error))]
    found = f"{trt.title}, runs --version-compatible engines and builds none"
    return [Finding("TensorRT's lean runtime", True, found)]


def _gpu() -> list[Finding]:
    """CUDA's bindings, the GPU behind them, and whether TensorRT-RTX is meant for it."""
    if not (names := gpu.installed()):
        mend = f"{install('cuda13')}, on CUDA 12 {install('cuda12')}"
        return [
            Finding("CUDA bindings", False, "not installed", mend),
            Finding("GPU", False, "unknown without the CUDA bindings"),
        ]
    versions = (f"{name} {_version(DISTRIBUTIONS[name]) or ''}".strip() for name in names)
    bindings = Finding("CUDA bindings", True, ", ".join(versions))
    try:
        device = gpu.current_device()
    except DeployError as error:
        reason = str(error).partition(". See")[0]
        mend = f"install NVIDIA's driver{_needed()}; without a GPU: ONNX Runtime runs .onnx files"
        return [bindings, Finding("GPU", False, reason, mend)]
    found = (
        f"{device.name}, {device.compute_capability}, {device.memory_bytes / 2**30:.0f} GiB, "
        f"driver for CUDA {device.driver_cuda}"
    )
    listed = device.compute_capability in RTX_COMPUTE_CAPABILITIES
    return [
        bindings,
        Finding("GPU", True, found),
        Finding(
            "RTX engines here",
            listed,
            f"{device.compute_capability} is "
            + ("supported" if listed else "not listed by NVIDIA: TensorRT-RTX may refuse it"),
            "" if listed else _instead_of_rtx(),
        ),
    ]


def _instead_of_rtx() -> str:
    return f"full TensorRT: {install('tensorrt')}; or .onnx files on ONNX Runtime: --provider cuda"


def _needed() -> str:
    """The oldest driver that serves cuda-python's CUDA."""
    major = (_version(DISTRIBUTIONS["cuda-python"]) or "").partition(".")[0]
    return f", {DRIVERS[major]} or newer for CUDA {major}" if major in DRIVERS else ""


def _distribution(package: str, extra: str, purpose: str) -> Finding:
    """A heavy package, found without importing it."""
    if find_spec(package) is None:
        return Finding(package, False, f"not installed; for {purpose}", install(extra))
    return Finding(package, True, _version(package) or "installed")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
