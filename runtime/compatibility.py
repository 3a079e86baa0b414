"""Can this machine run this engine? Asked before TensorRT sees the file.

TensorRT's own answer comes late and says little: without a driver it calls every engine invalid.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime import tensorrt_api
from runtime.errors import CardError, DeviceError, EngineMismatch, MissingPackage

# TensorRT-RTX 1.7, support matrix. 7.5 works on request; others may run and are not promised.
RTX_COMPUTE_CAPABILITIES = ("sm_80", "sm_86", "sm_89", "sm_120", "sm_121")


def check_machine(path: Path, build: Mapping[str, Any]) -> None:
    """Compare how the engine `path` was built with this machine.

    build: of the sidecar: package (tensorrt or rtx), version, and compute_capabilities, such as
    ["sm_86"], or [] for an engine that is bound to none.

    Raises CardError if `build` does not say, MissingPackage without any TensorRT, EngineMismatch
    if package, version or GPU differ, DeviceError where no GPU can be asked.
    """
    package, version = build.get("package"), build.get("version")
    capabilities = build.get("compute_capabilities")
    if (
        not isinstance(package, str)
        or package not in tensorrt_api.MODULES
        or not isinstance(version, str)
        or not isinstance(capabilities, list)
    ):
        raise CardError(
            f"the sidecar of {path} does not say what it was built with; {rebuild_hint(path)}"
        )
    built = f"{tensorrt_api.TITLES[package]} {version}"
    here = _installed(package)
    if here.name != package or here.version != version:
        raise EngineMismatch(
            f"{path.name} was built with {built}; this machine has {here.title}. "
            + rebuild_hint(path, here.name)
        )
    capability = _compute_capability(path)
    if capabilities and capability not in capabilities:
        raise EngineMismatch(
            f"{path.name} was built with {built} for {', '.join(map(str, capabilities))}; "
            f"this machine's GPU is {capability}. {rebuild_hint(path, here.name)}"
        )


def rebuild_hint(path: Path, runtime: str | None = None) -> str:
    """The command that builds an engine anew: street.fp16.rtx.engine came from street.fp16.onnx."""
    stem = path.name.removesuffix(".engine").removesuffix(".rtx").removesuffix(".trt")
    option = f" --runtime {runtime}" if runtime else ""
    return f"Rebuild it here: refinenet build {stem}.onnx{option}"


def _installed(package: str) -> tensorrt_api.TensorRT:
    """The package that the engine wants, or else the other one, for the message to name."""
    for name in sorted(tensorrt_api.MODULES, key=lambda name: name != package):
        if tensorrt_api.is_installed(name):
            return tensorrt_api.load(name)
    return tensorrt_api.load(package)


def _compute_capability(path: Path) -> str:
    try:
        from runtime.cuda import current_device

        return current_device().compute_capability
    except MissingPackage as error:
        raise MissingPackage("cuda-python", "cuda13", f"running {path.name}") from error
    except DeviceError as error:
        raise DeviceError(
            f"this machine has no GPU that can run {path.name}, nor tell whether it is valid: "
            f"{error}"
        ) from error
