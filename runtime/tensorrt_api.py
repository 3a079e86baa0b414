"""Find TensorRT under either of its names, and keep what it logs.

`tensorrt` (10.3 and later, 11) and `tensorrt_rtx` have one API; nothing else imports them by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Protocol

from runtime.errors import DeviceError, InputError, MissingPackage

MODULES = MappingProxyType({"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"})
TITLES = MappingProxyType({"tensorrt": "TensorRT", "rtx": "TensorRT-RTX"})


@dataclass(frozen=True)
class TensorRT:
    """One of the two packages.

    name: tensorrt or rtx, which is also the extra that installs it.
    version: as the package states it, such as 1.7.1.116.
    module: the imported package.
    """

    name: str
    version: str
    module: Any

    @property
    def title(self) -> str:
        """TensorRT 11.4.0.106, TensorRT-RTX 1.7.1.116."""
        return f"{TITLES[self.name]} {self.version}"


class CollectingLogger(Protocol):
    """A TensorRT ILogger that keeps every different warning and error, and prints nothing."""

    warnings: list[str]
    errors: list[str]


def load(runtime: str) -> TensorRT:
    """Import `tensorrt` or `rtx`.

    Raises InputError for another name, MissingPackage if it is not installed, DeviceError if it is
    installed and cannot be loaded.
    """
    if runtime not in MODULES:
        raise InputError(f"runtime '{runtime}' is unknown; expected one of {', '.join(MODULES)}")
    if not is_installed(runtime):
        raise MissingPackage(MODULES[runtime], runtime, TITLES[runtime])
    try:
        module = import_module(MODULES[runtime])
    except (ImportError, OSError, RuntimeError) as error:
        # The wheels load libnvinfer while they are imported, and each fails in its own way.
        raise DeviceError(
            f"{MODULES[runtime]} is installed and cannot be loaded ({_first_line(error)}). "
            f"Install it anew: pip install --force-reinstall 'refinenet-deploy[{runtime}]'"
        ) from error
    return TensorRT(runtime, str(module.__version__), module)


def is_installed(runtime: str) -> bool:
    """Whether the package is there, found without importing it."""
    return find_spec(MODULES[runtime]) is not None


def default_runtime() -> str:
    """tensorrt where it is installed beside a GPU, else rtx, which builds engines without one."""
    return "tensorrt" if is_installed("tensorrt") and gpu_present() else "rtx"


def gpu_present() -> bool:
    """Whether CUDA sees a GPU; False without CUDA's Python bindings. Raises nothing."""
    try:
        from runtime.cuda import device_count
    except MissingPackage:
        return False
    return device_count() > 0


def make_logger(trt: TensorRT) -> CollectingLogger:
    """The logger of this package, with nothing collected yet.

    TensorRT keeps the first logger that a process gives it and ignores the others with a warning.
    So there is one, which lives as long as the process; each call starts a new collection.
    """
    logger = _only_logger(trt.module.ILogger)
    logger.warnings, logger.errors = [], []
    return logger


@cache
def _only_logger(base: Any) -> CollectingLogger:
    """base: the package's ILogger."""
    severity = base.Severity
    serious = (severity.INTERNAL_ERROR, severity.ERROR)

    class Collector(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)
            self.warnings: list[str] = []
            self.errors: list[str] = []

        def log(self, level: Any, message: str) -> None:
            # TensorRT calls this from C++: an exception here would end the process. It repeats
            # itself too, and a warning once per frame must not fill the memory.
            if level in serious and message not in self.errors:
                self.errors.append(message)
            elif level == severity.WARNING and message not in self.warnings:
                self.warnings.append(message)

    return Collector()


def reason(logger: CollectingLogger) -> str:
    """What TensorRT said about its last failure, on one line."""
    return " ".join(logger.errors[-1].split()) if logger.errors else "TensorRT gives no reason"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
