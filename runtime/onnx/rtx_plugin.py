"""NVIDIA's TensorRT-RTX provider for ONNX Runtime on Linux: a plug-in beside onnxruntime.

The package onnxruntime-ep-nv-tensorrt-rtx-cu13 holds TensorRT-RTX itself and needs ONNX Runtime
1.24 or later. The older package with this provider inside, onnxruntime-trt-rtx, has wheels for
Windows alone.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from runtime.errors import DeviceError, MissingPackage

MODULE = "onnxruntime_ep_nv_tensorrt_rtx"
PACKAGE = "onnxruntime-ep-nv-tensorrt-rtx-cu13"


def is_installed() -> bool:
    return find_spec(MODULE) is not None


def devices(onnxruntime: Any) -> list[Any]:
    """The GPUs on which the provider can run, for SessionOptions.add_provider_for_devices.

    Raises MissingPackage without the plug-in, DeviceError if it cannot be loaded or finds no GPU.
    """
    if not is_installed():
        raise MissingPackage(PACKAGE, "onnxruntime-rtx", "ONNX Runtime's TensorRT-RTX provider")
    if not hasattr(onnxruntime, "register_execution_provider_library"):
        raise DeviceError(
            f"{PACKAGE} needs ONNX Runtime 1.24 or later; this is {onnxruntime.__version__}. "
            "Install it: pip install 'refinenet-deploy[onnxruntime-rtx]'"
        )
    plugin = import_module(MODULE)
    name = plugin.get_ep_name()
    if not _found(onnxruntime, name):  # registering twice is an error
        try:
            onnxruntime.register_execution_provider_library(name, plugin.get_library_path())
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            said = " ".join(str(error).rpartition("with error: ")[2].split())
            raise DeviceError(
                f"{name} could not start on this machine: {said}. Or use --provider cpu"
            ) from error
    found = _found(onnxruntime, name)
    if not found:
        raise DeviceError(
            f"{name} finds no GPU that it can use; see refinenet doctor. Or use --provider cpu"
        )
    return found


def _found(onnxruntime: Any, name: str) -> list[Any]:
    return [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
