"""ONNX Runtime's execution providers: which there are, and a session on one of them."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from runtime import tensorrt_api
from runtime.errors import DeviceError, InputError, MissingPackage
from runtime.onnx import rtx_plugin
from runtime.onnx.provider_options import CUDA_FLOOR, provider_options, session_settings

try:
    import onnxruntime
except ModuleNotFoundError as error:
    raise MissingPackage("onnxruntime", "onnxruntime", "running an ONNX file") from error

PROVIDERS = MappingProxyType(
    {
        "cpu": "CPUExecutionProvider",
        "cuda": "CUDAExecutionProvider",
        "tensorrt": "TensorrtExecutionProvider",
        "rtx": "NvTensorRTRTXExecutionProvider",
    }
)
TITLES = MappingProxyType(
    {"cpu": "CPU", "cuda": "CUDA", "tensorrt": "TensorRT", "rtx": "TensorRT-RTX"}
)
# onnxruntime and onnxruntime-gpu are one module, so that one must go before the other comes.
GPU_PACKAGE = "onnxruntime-gpu"
# The library of each provider that is one of its own, beside onnxruntime's.
LIBRARIES = MappingProxyType({"cuda": "cuda", "tensorrt": "tensorrt"})
LINKED_TENSORRT = re.compile(rb"libnvinfer\.so\.(\d+)")
# What ONNX Runtime says where a node is left to the CPU and session_settings forbids it.
FALLBACK_REFUSED = "fallback to CPU EP has been explicitly disabled"
GPU_INDEX = 0  # which every provider computes on unless its options name another: device_id
ERRORS_ONLY, NOTHING = 3, 4  # ONNX Runtime's severities

onnxruntime.set_default_logger_severity(ERRORS_ONLY)


def onnxruntime_version() -> str:
    """Such as 1.31.1."""
    return str(onnxruntime.__version__)


def compiled_providers() -> list[str]:
    """Those of PROVIDERS that this onnxruntime has; whether one can start is another question."""
    compiled = onnxruntime.get_available_providers()
    found = [name for name, provider in PROVIDERS.items() if provider in compiled]
    return [*found, "rtx"] if "rtx" not in found and rtx_plugin.is_installed() else found


def create_session(path: Path, provider: str, threads: int | None, precision: str = "fp32") -> Any:
    """An InferenceSession of the file on this provider and no other.

    threads: of the CPU; by default as many as it has cores. precision: of the file's card.

    Raises InputError for a provider that does not exist or a file that ONNX Runtime refuses,
    DeviceError if the provider cannot be had or leaves nodes of a file of one size to the CPU.
    """
    if provider not in PROVIDERS:
        raise InputError(f"provider '{provider}' is unknown; expected {', '.join(PROVIDERS)}")
    wanted = PROVIDERS[provider]
    if provider == "rtx":
        devices = rtx_plugin.devices(onnxruntime)
    elif provider not in compiled_providers():
        raise DeviceError(
            f"this onnxruntime has no {wanted}. Install the one that has: "
            f"pip uninstall onnxruntime onnxruntime-gpu, then pip install {GPU_PACKAGE}"
        )
    if provider == "cuda":
        require_cuda_kernels(onnxruntime_version())
    if provider != "cpu":
        _load_cuda()
    if provider == "tensorrt" and tensorrt_api.is_installed("tensorrt"):
        with suppress(DeviceError):  # what is missing is said below
            tensorrt_api.load("tensorrt")  # its libraries come with it, where the provider looks
    settings = session_settings(provider, path)
    asked = provider_options(provider, path, precision)

    def opened(settings: Mapping[str, str]) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = NOTHING  # its exceptions say the same
        if threads is not None:
            options.intra_op_num_threads = threads
        for key, value in settings.items():
            options.add_session_config_entry(key, value)
        chosen: dict[str, Any] = {"providers": [(wanted, asked)]}
        if provider == "rtx":
            options.add_provider_for_devices(devices[:1], asked)
            chosen = {}
        return onnxruntime.InferenceSession(str(path), options, enable_fallback=False, **chosen)

    # Where a provider cannot start, ONNX Runtime logs it at length and takes the CPU instead; we
    # look at what it took, and say it in one line.
    onnxruntime.set_default_logger_severity(NOTHING)
    try:
        try:
            session = opened(settings)
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            if FALLBACK_REFUSED not in str(error):
                raise
            session = opened({})  # is it some of the nodes, or the whole provider?
            if session.get_providers()[0] == wanted:
                raise _leaves_nodes_to_the_cpu(path, provider) from error
    except DeviceError:
        raise
    except Exception as error:
        if "Please install" in str(error):
            raise _not_started(provider) from error
        said = f"ONNX Runtime cannot load {path}: {without_prefix(error)}"
        if provider != "cpu":  # a GPU without room, a driver too old: the file may be whole
            raise DeviceError(f"{said}. Try it with --provider cpu") from error
        if "NOT_IMPLEMENTED" in str(error):  # of a whole file that others may run
            raise DeviceError(f"{said}. Try it with another --provider") from error
        raise InputError(f"{said}. Export or copy it again") from error
    finally:
        onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    if session.get_providers()[0] != wanted:
        raise _not_started(provider)
    return session


def require_cuda_kernels(version: str) -> None:
    """DeviceError for an ONNX Runtime whose CUDA provider lacks kernels that our graphs need."""
    if tuple(int(part) for part in version.split(".")[:2]) >= CUDA_FLOOR:
        return
    floor = ".".join(map(str, CUDA_FLOOR))
    advice = (
        "None is made for Python 3.10 (1.23.2 is its last): use an engine, or --provider cpu"
        if sys.version_info < (3, 11)
        else f"Install it: pip install '{GPU_PACKAGE}>={floor}'"
    )
    raise DeviceError(
        f"the CUDA provider of ONNX Runtime {version} leaves Resize to the CPU; {floor} is the "
        f"first that has it. {advice}"
    )


def _leaves_nodes_to_the_cpu(path: Path, provider: str) -> DeviceError:
    return DeviceError(
        f"{PROVIDERS[provider]} of ONNX Runtime {onnxruntime_version()} cannot compute all of "
        f"{path.name}, and the CPU would compute the rest with copies between. Build an engine: "
        "refinenet build; or use --provider cpu"
    )


def _load_cuda() -> None:
    """CUDA and cuDNN out of NVIDIA's pip packages, where they are; it prints what it misses."""
    if hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            onnxruntime.preload_dlls()


def _not_started(provider: str) -> DeviceError:
    return DeviceError(
        f"{PROVIDERS[provider]} could not start on this machine: {_obstacle(provider)}. "
        "Or use --provider cpu"
    )


def _obstacle(provider: str) -> str:
    """What the dynamic linker says of the provider's own library, and what to install."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    own = LIBRARIES.get(provider)  # the plug-in's libraries were loaded already
    try:
        for name in ("shared", own) if own else ():
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"))
    except OSError as error:
        also, why = _tensorrt_beside(folder) if provider == "tensorrt" else ("", "")
        return f"{error}{why}. Install it: pip install '{GPU_PACKAGE}[cuda,cudnn]'{also}"
    return "its libraries are here, but it finds no GPU that it can use; see refinenet doctor"


def _tensorrt_beside(folder: Path) -> tuple[str, str]:
    """What pip has to install beside, and why, if it is another TensorRT than is here: the provider
    is linked to one major release, which need not be pip's newest."""
    library = folder / f"libonnxruntime_providers_{LIBRARIES['tensorrt']}.so"
    linked = LINKED_TENSORRT.search(library.read_bytes()) if library.is_file() else None
    if linked is None:
        return " tensorrt", ""
    major = int(linked[1])
    why = ""
    with suppress(PackageNotFoundError):  # by its distribution: importing it may fail
        here = version("tensorrt")
        if not here.startswith(f"{major}."):
            why = f" (it is linked to TensorRT {major}, and this machine has TensorRT {here})"
    return f" 'tensorrt>={major},<{major + 1}'", why


def without_prefix(error: Exception) -> str:
    """ONNX Runtime's message without its prefix: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : …"""
    return " ".join(str(error).rpartition(" : ")[2].split()).rstrip(".")
