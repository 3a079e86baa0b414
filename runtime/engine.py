"""A TensorRT engine: frames in, masks out, with memory that is allocated once."""

from __future__ import annotations

from contextlib import ExitStack
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime import tensorrt_api
from runtime.card import Card, check_hash, read_card, read_sidecar
from runtime.compatibility import check_machine, rebuild_hint
from runtime.errors import DeployError, DeviceError, InputError
from runtime.files import existing_file
from runtime.frames import Frame, check_batch, check_out
from runtime.tensorrt_api import CollectingLogger, TensorRT, gpu_present

Shape = tuple[int, ...]


class Engine:
    """One engine with one context: it serves one thread at a time.

    card: what the file is.
    input_shape: (N, H, W, 3), None for a free dimension.
    output_kind: mask, (N, H, W) uint8, or logits, (N, C, H, W) float.
    batch_limits: the smallest and the largest N.
    description: such as "TensorRT-RTX 1.7.1.116, NVIDIA RTX A4000".
    """

    @classmethod
    def open(cls, path: str | Path, *, card: str | Path | None = None) -> Engine:
        """Check the engine against its card and this machine, then load it.

        card: the card of an engine that has no sidecar; nothing is then known of how it was built.

        Raises CardError or EngineMismatch if card, hash, TensorRT or GPU do not fit, DeviceError
        without a GPU or if TensorRT refuses it, MissingPackage without TensorRT or cuda-python.
        """
        path = existing_file(path)
        contents = read_card(path, card)
        if card is not None and read_sidecar(path) is None:
            return cls(path, contents, _load_for_foreign(path))
        sidecar = check_hash(path)
        check_machine(path, sidecar.build)
        return cls(path, contents, tensorrt_api.load(sidecar.build["package"]))

    def __init__(self, path: Path, card: Card, trt: TensorRT) -> None:
        from runtime import cuda

        self._cuda, self._path, self.card = cuda, path, card
        self._logger = tensorrt_api.make_logger(trt)
        # TensorRT's objects hold pointers to those they were made from, so all stay referenced.
        self._runtime = trt.module.Runtime(self._logger)
        self._engine = _made(
            self._runtime.deserialize_cuda_engine(path.read_bytes()), path, self._logger
        )
        self._context = _made(self._engine.create_execution_context(), path, self._logger)
        self._input, self._output = _frame_and_mask(self._engine, trt, path)
        self.dtype = np.dtype(trt.module.nptype(self._engine.get_tensor_dtype(self._output)))
        self.output_kind = "mask" if self.dtype == np.uint8 else "logits"
        shape = tuple(self._engine.get_tensor_shape(self._input))
        self.input_shape = tuple(None if size < 0 else size for size in shape)
        self._smallest, self._largest = _limits(self._engine, self._input, shape)
        self.batch_limits = (self._smallest[0], self._largest[0])
        self.description = f"{trt.title}, {cuda.current_device().name}"
        with ExitStack() as resources:
            self._allocate(resources)
            self._resources = resources.pop_all()
        self._closed = False

    def _allocate(self, resources: ExitStack) -> None:
        """Buffers for the largest shape of the profile, bound to the context once."""
        cuda = self._cuda
        self._shape: Shape = ()
        self._output_shape = self._set_shape(self._largest)
        sizes = {
            self._input: prod(self._largest),
            self._output: prod(self._output_shape) * self.dtype.itemsize,
        }
        self._stream = resources.enter_context(cuda.Stream())
        self._host, self._device = {}, {}
        for name, size_bytes in sizes.items():
            self._host[name] = resources.enter_context(cuda.PinnedBuffer(size_bytes))
            self._device[name] = resources.enter_context(cuda.DeviceBuffer(size_bytes))
            address = self._device[name].address
            self._require(self._context.set_tensor_address(name, address), "set_tensor_address")

    def __call__(self, frames: Frame, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Run one batch and wait for it.

        frames: (N, H, W, 3) uint8, BGR.
        out: an array of the result's shape and dtype to write into; a fresh one otherwise.

        Returns the mask, (N, H, W) uint8; from a logits engine (N, C, H, W) float.
        Raises InputError for a shape outside the engine's profile, DeviceError if CUDA or TensorRT
        refuses the work, DeployError after close().
        """
        if self._closed:
            raise DeployError(f"{self._path.name} was closed; open it again")
        check_batch(frames)
        self._check_profile(frames.shape)
        if frames.shape != self._shape:
            self._output_shape = self._set_shape(frames.shape)
        if out is None:
            out = np.empty(self._output_shape, self.dtype)
        check_out(out, self._output_shape, self.dtype)
        self._run(frames, out)
        return out

    def _run(self, frames: Frame, out: NDArray[Any]) -> None:
        cuda, stream, source, target = self._cuda, self._stream, self._input, self._output
        host_in = self._host[source].array[: frames.nbytes].reshape(frames.shape)
        np.copyto(host_in, frames)
        cuda.copy_to_device(self._device[source], self._host[source], frames.nbytes, stream)
        self._require(self._context.execute_async_v3(stream.handle), "execute_async_v3")
        cuda.copy_to_host(self._host[target], self._device[target], out.nbytes, stream)
        stream.synchronize()
        host_out = self._host[target].array[: out.nbytes].view(self.dtype).reshape(out.shape)
        np.copyto(out, host_out)

    def _set_shape(self, shape: Shape) -> Shape:
        """Tell the context the input's shape; the output's shape follows."""
        self._shape = ()
        self._require(self._context.set_input_shape(self._input, shape), "set_input_shape")
        self._shape = shape
        return tuple(self._context.get_tensor_shape(self._output))

    def _check_profile(self, shape: Shape) -> None:
        limits = zip(self._smallest, shape, self._largest, strict=True)
        if not all(low <= size <= high for low, size, high in limits):
            raise InputError(
                f"frames of shape {shape}; {self._path.name} was built for "
                f"{self._smallest} to {self._largest}. Resize the frames, or build it for others"
            )

    def _require(self, done: bool, call: str) -> None:
        """TensorRT says False and goes on; a stale mask would be the result."""
        if not done:
            reason = tensorrt_api.reason(self._logger)
            raise DeviceError(f"{self._path.name}: {call} failed: {reason}. See refinenet doctor")

    def close(self) -> None:
        """Free the GPU's memory; calling this again does nothing."""
        if self._closed:
            return
        self._closed = True
        # The context may still read the buffers until it is gone.
        del self._context, self._engine, self._runtime
        self._resources.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _load_for_foreign(path: Path) -> TensorRT:
    """A foreign engine does not say which package built it: the one a build here would use."""
    if not gpu_present():
        raise DeviceError(
            f"this machine has no GPU that can run {path.name}, nor tell whether it is valid. "
            "See what is missing: refinenet doctor"
        )
    return tensorrt_api.load(tensorrt_api.default_runtime())


def _made(thing: Any, path: Path, logger: CollectingLogger) -> Any:
    """What TensorRT made, which is None where it failed."""
    if thing is None:
        raise DeviceError(
            f"TensorRT cannot load {path.name}: {tensorrt_api.reason(logger)}. {rebuild_hint(path)}"
        )
    return thing


def _frame_and_mask(engine: Any, trt: TensorRT, path: Path) -> tuple[str, str]:
    """The names of the one input and the one output."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    is_input = trt.module.TensorIOMode.INPUT
    inputs = [name for name in names if engine.get_tensor_mode(name) == is_input]
    outputs = [name for name in names if name not in inputs]
    uint8 = trt.module.DataType.UINT8
    if (
        len(inputs) != 1
        or len(outputs) != 1
        or engine.get_tensor_dtype(inputs[0]) != uint8
        or len(engine.get_tensor_shape(inputs[0])) != 4
    ):
        raise InputError(
            f"{path} takes {', '.join(inputs)} and gives {', '.join(outputs)}; expected one uint8 "
            "frame (N, H, W, 3) and one result. Export with refinenet export, then build"
        )
    return inputs[0], outputs[0]


def _limits(engine: Any, name: str, shape: Shape) -> tuple[Shape, Shape]:
    """The smallest and the largest input shape."""
    if -1 not in shape:
        return shape, shape
    smallest, _, largest = engine.get_tensor_profile_shape(name, 0)
    return tuple(smallest), tuple(largest)
