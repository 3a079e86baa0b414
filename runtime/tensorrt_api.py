"""Find TensorRT under either of its names, and keep what it logs.

`tensorrt` (10.3 and later, 11) and `tensorrt_rtx` have one API; nothing else imports them by name.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType, ModuleType
from typing import Any, Protocol

from runtime.cuda import gpu
from runtime.errors import DeviceError, InputError, MissingPackage

MODULES = MappingProxyType({"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"})
LEAN_MODULES = ("tensorrt_lean", "tensorrt_dispatch")  # they run version-compatible engines only
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
    from runtime.installing import install  # metadata of packages, which nothing else needs

    module = _imported(MODULES[runtime], install(runtime, "--force-reinstall"))
    return TensorRT(runtime, str(module.__version__), module)


def load_for_running(runtime: str, *, version_compatible: bool) -> TensorRT:
    """Import what can run an engine that `runtime` built: for a version-compatible one, TensorRT's
    lean or dispatch runtime serves where the full package is missing.

    Raises what load() raises.
    """
    if runtime != "tensorrt" or not version_compatible or is_installed(runtime):
        return load(runtime)
    for name in LEAN_MODULES:
        if find_spec(name) is not None:
            module = _imported(name, f"pip install --force-reinstall {name}")
            return TensorRT(runtime, str(module.__version__), module)
    return load(runtime)


def is_installed(runtime: str) -> bool:
    """Whether the package is there, found without importing it."""
    return find_spec(MODULES[runtime]) is not None


def default_runtime() -> str:
    """tensorrt where it is installed beside a GPU, else rtx, which builds engines without one."""
    return "tensorrt" if is_installed("tensorrt") and gpu_present() else "rtx"


def gpu_present() -> bool:
    """Whether CUDA sees a GPU; False without CUDA's Python bindings. Raises nothing."""
    try:
        return gpu.device_count() > 0
    except (MissingPackage, DeviceError):
        return False


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
            if level in serious:
                _keep(self.errors, message)
            elif level == severity.WARNING:
                _keep(self.warnings, message)

    return Collector()


def _keep(messages: list[str], message: str) -> None:
    """Once, as the newest."""
    with suppress(ValueError):  # not `in` first: TensorRT logs from several threads
        messages.remove(message)
    messages.append(message)


def made(trt: TensorRT, factory: Any, logger: CollectingLogger) -> Any:
    """A Runtime or Builder; DeviceError if TensorRT made none, as with a driver that is too old.

    pybind11 turns the null pointer of such a factory into a TypeError.
    """
    try:
        return factory(logger)
    except TypeError as error:
        raise DeviceError(
            f"{trt.title} cannot start: {reason(logger)}. See what is missing: refinenet doctor"
        ) from error


def reason(logger: CollectingLogger) -> str:
    """What TensorRT said about the failure of just now, on one line; it does not stand for another.

    A call can fail without a word: then an earlier failure must not lend it its own.
    """
    message = logger.errors[-1] if logger.errors else "TensorRT gives no reason"
    logger.errors = []
    return " ".join(message.split())


def _imported(name: str, mend: str) -> ModuleType:
    try:
        return import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        # The wheels load libnvinfer while they are imported, and each fails in its own way.
        raise DeviceError(
            f"{name} is installed and cannot be loaded ({_first_line(error)}). "
            f"Install it anew: {mend}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
