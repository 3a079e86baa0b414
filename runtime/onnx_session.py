"""An ONNX file in ONNX Runtime, behind the same face as an engine."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.card import Card, check_external_data, read_card
from runtime.errors import DeployError, DeviceError, InputError, MissingPackage
from runtime.files import existing_file
from runtime.frames import Frame, check_batch, check_out

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
# Both packages are the module onnxruntime, so that one must go before the other comes.
PACKAGES = MappingProxyType(
    {"cuda": "onnxruntime-gpu", "tensorrt": "onnxruntime-gpu", "rtx": "onnxruntime-trt-rtx"}
)
# The library of each provider that is one of its own, beside onnxruntime's.
LIBRARIES = MappingProxyType({"cuda": "cuda", "tensorrt": "tensorrt", "rtx": "nv_tensorrt_rtx"})
ERRORS_ONLY, NOTHING = 3, 4  # ONNX Runtime's severities
ANY_NUMBER = 2**31 - 1
UINT8 = "tensor(uint8)"

onnxruntime.set_default_logger_severity(ERRORS_ONLY)


class OnnxSession:
    """One ONNX file on one execution provider.

    card: what the file is.
    input_shape: (N, H, W, 3), None for a free dimension.
    output_kind: mask, (N, H, W) uint8, or logits, (N, C, H, W) float.
    batch_limits: the smallest and the largest N.
    description: such as "ONNX Runtime 1.31.1, CPU".
    """

    @classmethod
    def open(
        cls,
        path: str | Path,
        provider: str = "cpu",
        threads: int | None = None,
        *,
        card: str | Path | None = None,
    ) -> OnnxSession:
        """Load the file.

        provider: cpu, cuda, tensorrt or rtx; what it cannot compute stays on the CPU, as ONNX
        Runtime does it, but a provider that cannot start at all is an error.
        threads: of the CPU; by default as many as it has cores.
        card: the card of a file that carries none.

        Raises InputError if it is no whole ONNX file of a frame model or the weights beside it are
        of another file, CardError without a card, DeviceError if the provider cannot be had.
        """
        path = existing_file(path)
        contents = read_card(path, card)
        check_external_data(path, contents)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = NOTHING  # its exceptions say the same
        if threads is not None:
            options.intra_op_num_threads = threads
        return cls(path, contents, provider, _create(path, provider, options))

    def __init__(self, path: Path, card: Card, provider: str, session: Any) -> None:
        self._path, self.card, self._session = path, card, session
        self._input, self._output = _frame_and_result(session, path)
        self.input_shape = tuple(
            size if isinstance(size, int) else None for size in self._input.shape
        )
        self.output_kind = "mask" if self._output.type == UINT8 else "logits"
        batch = self.input_shape[0]
        self.batch_limits = (batch, batch) if batch else (1, ANY_NUMBER)
        self.description = f"ONNX Runtime {onnxruntime_version()}, {TITLES[provider]}"

    def __call__(self, frames: Frame, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Run one batch.

        frames: (N, H, W, 3) uint8, BGR.
        out: an array of the result's shape and dtype to write into; a fresh one otherwise.

        Returns the mask, (N, H, W) uint8; from a logits file (N, C, H, W) float.
        Raises InputError for a shape that the file does not take, DeviceError if ONNX Runtime
        fails, DeployError after close().
        """
        if self._session is None:
            raise DeployError(f"{self._path.name} was closed; open it again")
        check_batch(frames)
        self._check_shape(frames.shape)
        if out is not None and self.output_kind == "mask" and out.flags.c_contiguous:
            check_out(out, frames.shape[:3], np.dtype(np.uint8))
            return self._run_into(frames, out)
        result = self._run(frames)
        if out is None:
            return result
        check_out(out, result.shape, result.dtype)
        np.copyto(out, result)
        return out

    def _run(self, frames: Frame) -> NDArray[Any]:
        with self._failures_named():
            result = self._session.run([self._output.name], {self._input.name: frames})[0]
        return np.asarray(result)

    def _run_into(self, frames: Frame, out: NDArray[Any]) -> NDArray[Any]:
        """Let ONNX Runtime write the mask where the caller wants it, without a copy between."""
        name, frames = self._output.name, np.ascontiguousarray(frames)
        with self._failures_named():
            binding = self._session.io_binding()
            binding.bind_cpu_input(self._input.name, frames)
            binding.bind_output(name, "cpu", 0, out.dtype.type, out.shape, out.ctypes.data)
            self._session.run_with_iobinding(binding)
        return out

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise DeviceError(f"{self._path.name} failed: {_one_line(error)}") from error

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        expected = zip(shape, self.input_shape, strict=True)
        if any(wanted is not None and found != wanted for found, wanted in expected):
            raise InputError(
                f"frames of shape {shape}; {self._path.name} takes {self.input_shape}. "
                "Resize the frames, or export with --dynamic"
            )

    def close(self) -> None:
        """Free the session; calling this again does nothing."""
        self._session = None

    def __enter__(self) -> OnnxSession:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def onnxruntime_version() -> str:
    """Such as 1.31.1."""
    return str(onnxruntime.__version__)


def compiled_providers() -> list[str]:
    """Those of PROVIDERS that this onnxruntime has; whether one can start is another question."""
    compiled = onnxruntime.get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider in compiled]


def _create(path: Path, provider: str, options: Any) -> Any:
    if provider not in PROVIDERS:
        raise InputError(f"provider '{provider}' is unknown; expected {', '.join(PROVIDERS)}")
    wanted = PROVIDERS[provider]
    if provider not in compiled_providers():
        raise DeviceError(
            f"this onnxruntime has no {wanted}. Install the one that has: "
            f"pip uninstall onnxruntime onnxruntime-gpu, then pip install {PACKAGES[provider]}"
        )
    if provider != "cpu":
        _load_cuda()
    # Where a provider cannot start, ONNX Runtime logs it at length and takes the CPU instead; we
    # look at what it took, and say it in one line.
    onnxruntime.set_default_logger_severity(NOTHING)
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=[wanted], enable_fallback=False
        )
    except Exception as error:  # ONNX Runtime's errors have no base of their own
        if "Please install" in str(error):
            raise _not_started(provider) from error
        raise InputError(
            f"ONNX Runtime cannot load {path}: {_one_line(error)}. Export or copy it again"
        ) from error
    finally:
        onnxruntime.set_default_logger_severity(ERRORS_ONLY)
    if session.get_providers()[0] != wanted:
        raise _not_started(provider)
    return session


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
    try:
        for name in ("shared", LIBRARIES[provider]):
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"))
    except OSError as error:
        also = " tensorrt" if provider == "tensorrt" else ""
        return f"{error}. Install it: pip install '{PACKAGES[provider]}[cuda,cudnn]'{also}"
    return "its libraries are here, but it finds no GPU that it can use; see refinenet doctor"


def _frame_and_result(session: Any, path: Path) -> tuple[Any, Any]:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if (
        len(inputs) != 1
        or len(outputs) != 1
        or inputs[0].type != UINT8
        or len(inputs[0].shape) != 4
    ):
        found = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in inputs)
        raise InputError(
            f"{path} takes {found} and gives {len(outputs)} results; expected one uint8 frame "
            "(N, H, W, 3) and one result. Write it with refinenet export"
        )
    return inputs[0], outputs[0]


def _one_line(error: Exception) -> str:
    """ONNX Runtime's message without its prefix: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : …"""
    return " ".join(str(error).rpartition(" : ")[2].split()).rstrip(".")
