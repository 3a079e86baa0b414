"""Can this machine run this engine? Asked before TensorRT sees the file.

TensorRT's own answer comes late and says little: without a driver it calls every engine invalid.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from runtime import tensorrt_api
from runtime.cuda import gpu
from runtime.errors import CardError, DeviceError, EngineMismatch, InputError, MissingPackage
from runtime.tensorrt_api import TensorRT

# TensorRT-RTX 1.7, support matrix. 7.5 works on request; others may run and are not promised.
RTX_COMPUTE_CAPABILITIES = ("sm_80", "sm_86", "sm_89", "sm_120", "sm_121")


# TensorRT's engines begin with ptrt, TensorRT-RTX's (1.7) with vtrt.
ENGINE_MARK = b"trt"


def check_is_engine(path: Path) -> None:
    """InputError for a file that only its name makes an engine; for one without a sidecar, whose
    hash would say what it is."""
    with path.open("rb") as file:
        head = file.read(4)
    if head[1:] != ENGINE_MARK:
        raise InputError(
            f"{path} is no TensorRT engine: it does not begin as one. Build one: "
            f"refinenet build {onnx_name(path)}"
        )


def check_machine(path: Path, build: Mapping[str, Any]) -> None:
    """Compare how the engine `path` was built with this machine.

    build: of the sidecar: package (tensorrt or rtx), version, and compute_capabilities, such as
    ["sm_86"], or [] for RTX's default. Where they are there, also version_compatible, hardware and
    weights, as export.building.engine_options.EngineOptions has them.

    Raises CardError if `build` does not say, MissingPackage without any TensorRT, EngineMismatch
    if package, version or GPU differ or the weights were left out, DeviceError where no GPU can be
    asked, which is no verdict on the engine.
    """
    check_release_and_gpu(path, build)
    if build.get("weights") == "stripped":
        raise EngineMismatch(
            f"{path.name} was built without its weights. Fill them in: "
            f"refinenet build {onnx_name(path)} --refit {path.name}"
        )


def check_release_and_gpu(path: Path, build: Mapping[str, Any]) -> None:
    """check_machine for an engine that may still wait for its weights."""
    package, version = build.get("package"), build.get("version")
    capabilities = build.get("compute_capabilities")
    if (
        not isinstance(package, str)
        or package not in tensorrt_api.MODULES
        or not isinstance(version, str)
        or not isinstance(capabilities, list)
    ):
        raise CardError(
            f"the sidecar of {path} does not say what it was built with. {rebuild_hint(path)}"
        )
    built = f"{tensorrt_api.TITLES[package]} {version}"
    here = _installed(package, build)
    if here.name != package or not _serves(here.version, version, build):
        raise EngineMismatch(
            f"{path.name} was built with {built}; this machine has {here.title}. "
            + rebuild_hint(path, here.name)
        )
    capability = _compute_capability(path)
    if problem := _gpu_problem(capability, [str(name) for name in capabilities], build):
        target = f" --target {capability}" if package == "rtx" else ""
        raise EngineMismatch(
            f"{path.name} was built with {built} for {problem}; this machine's GPU is "
            f"{capability}. {rebuild_hint(path, here.name)}{target}"
        )


def rebuild_hint(path: Path, runtime: str | None = None) -> str:
    """The command that builds an engine anew: street.fp16.rtx.engine came from street.fp16.onnx."""
    option = f" --runtime {runtime}" if runtime else ""
    return f"Rebuild it here: refinenet build {onnx_name(path)}{option}"


def onnx_name(path: Path) -> str:
    """The file that an engine was built from: street.fp16.onnx for street.fp16.rtx.engine."""
    return path.name.removesuffix(".engine").removesuffix(".rtx").removesuffix(".trt") + ".onnx"


def _serves(here: str, built: str, build: Mapping[str, Any]) -> bool:
    """Whether this release runs an engine of that one: itself alone, unless built to last."""
    if here == built:
        return True
    return build.get("version_compatible") is True and _numbers(here) >= _numbers(built)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _gpu_problem(capability: str, capabilities: list[str], build: Mapping[str, Any]) -> str:
    """The GPUs that the engine was built for, if this one is not among them; else nothing."""
    if build.get("hardware") == "ampere_plus":
        return "" if _number(capability) >= 80 else "sm_80 and later"
    if capabilities:
        return "" if capability in capabilities else ", ".join(capabilities)
    # RTX's default. Of what is not listed (sm_90 is not), TensorRT-RTX itself has the last word.
    return "" if _number(capability) >= 80 else "sm_80 and later"


def _number(capability: str) -> int:
    return int(capability.removeprefix("sm_"))


def _installed(package: str, build: Mapping[str, Any]) -> TensorRT:
    """The package that the engine wants, or else the other one, for the message to name."""
    if build.get("version_compatible") is True:
        with suppress(MissingPackage):
            return tensorrt_api.load_for_running(package, version_compatible=True)
    for name in sorted(tensorrt_api.MODULES, key=lambda name: name != package):
        if tensorrt_api.is_installed(name):
            return tensorrt_api.load(name)
    return tensorrt_api.load(package)


def _compute_capability(path: Path) -> str:
    try:
        return gpu.current_device().compute_capability
    except MissingPackage as error:
        raise MissingPackage("cuda-python", "cuda13", f"running {path.name}") from error
    except DeviceError as error:
        raise DeviceError(
            f"this machine has no GPU that can run {path.name}, nor tell whether it is valid: "
            f"{error}"
        ) from error
