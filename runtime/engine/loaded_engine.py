"""An engine file as TensorRT loaded it: its tensors, its profiles, and new contexts for it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from runtime import tensorrt_api
from runtime.cuda.gpu import Device
from runtime.engine.compatibility import onnx_name, rebuild_hint
from runtime.engine.runtime_cache import RuntimeCache
from runtime.errors import DeviceError, InputError
from runtime.tensorrt_api import TensorRT

Shape = tuple[int, ...]

SPECIALIZATIONS = ("lazy", "eager", "none")


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is run.

    cuda_graph: launch the network as one CUDA graph per shape. None: where it can be captured, and
    `notes` of the engine says where it cannot. True: an error where it cannot. False: never.
    TensorRT-RTX captures by itself unless it is False.
    mapped_memory: let the GPU read frames and write masks in the host's own memory, without copies.
    None: on a GPU that shares the host's memory, as on a Jetson.
    cuda: the implementation of CUDA, cuda-python or pycuda; see runtime.cuda.gpu.choose.
    version_compatible: the file carries a runtime of its own, which TensorRT may execute. As the
    sidecar says it, unless given.
    kernel_specialization: of TensorRT-RTX, for an engine with free dimensions: lazy compiles
    kernels for a new shape in the background, eager before the first frame, none never.
    runtime_cache: of TensorRT-RTX: keep the kernels compiled here in a file beside the engine.

    Raises InputError for a kernel_specialization that does not exist.
    """

    cuda_graph: bool | None = None
    mapped_memory: bool | None = None
    cuda: str | None = None
    version_compatible: bool = False
    kernel_specialization: str = "lazy"
    runtime_cache: bool = True

    def __post_init__(self) -> None:
        if self.kernel_specialization not in SPECIALIZATIONS:
            raise InputError(
                f"kernel_specialization is {self.kernel_specialization!r}; "
                f"expected one of {', '.join(SPECIALIZATIONS)}"
            )


@dataclass(frozen=True)
class Profile:
    """An optimization profile: the smallest and the largest input shape, (N, H, W, 3)."""

    smallest: Shape
    largest: Shape

    def holds(self, shape: Shape) -> bool:
        limits = zip(self.smallest, shape, self.largest, strict=True)
        return all(low <= size <= high for low, size, high in limits)


class LoadedEngine:
    """The engine without its execution.

    input, output: the names of the frame and the mask.
    dtype: of the output.
    input_shape: of the frame, -1 for a free dimension.
    profiles: by TensorRT's index.
    scratch_bytes: what one context needs to compute in, beside its input and output.
    compiles_in_background: TensorRT-RTX may compile kernels at any time, in threads of its own.
    notes: what the user may want to know of how it runs.
    """

    def __init__(
        self,
        path: Path,
        trt: TensorRT,
        device: Device,
        options: EngineOptions,
        sha256: str | None = None,
    ) -> None:
        """Load it; DeviceError if TensorRT cannot, InputError if it is no frame model.

        sha256: of the file, where it was computed already.
        """
        self._path, self._trt, self.notes = path, trt, list[str]()
        self._sha256 = sha256
        self._logger = tensorrt_api.make_logger(trt)
        # TensorRT's objects hold pointers to those they were made from, so all stay referenced.
        self._runtime = tensorrt_api.made(trt, trt.module.Runtime, self._logger)
        if options.version_compatible:
            self._runtime.engine_host_code_allowed = True
        content = path.read_bytes()
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None and trt.name == "rtx":
            raise self._rtx_refusal(content, device)
        self._engine = self._made(engine)
        self._cache: RuntimeCache | None = None
        self._strategy = trt.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if trt.name == "rtx":
            self._strategy = self._rtx_config(device, options)
        self.input, self.output = self._frame_and_mask()
        self.dtype = np.dtype(trt.module.nptype(self._engine.get_tensor_dtype(self.output)))
        self.input_shape: Shape = tuple(self._engine.get_tensor_shape(self.input))
        self.compiles_in_background = (
            trt.name == "rtx" and -1 in self.input_shape and options.kernel_specialization == "lazy"
        )
        self.profiles = self._profiles()
        self.scratch_bytes = int(self._engine.device_memory_size_v2)

    def _rtx_config(self, device: Device, options: EngineOptions) -> Any:
        """TensorRT-RTX compiles its kernels and captures its graphs by itself, as this says."""
        module = self._trt.module
        config = self._made(self._engine.create_runtime_config())
        config.set_execution_context_allocation_strategy(self._strategy)
        graphs = module.CudaGraphStrategy
        wanted = options.cuda_graph is not False
        config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if wanted else graphs.DISABLED
        config.dynamic_shapes_kernel_specialization_strategy = getattr(
            module.DynamicShapesKernelSpecializationStrategy, options.kernel_specialization.upper()
        )
        if options.runtime_cache:
            kept = self._made(config.create_runtime_cache())
            self._cache = RuntimeCache(self._path, kept, self._trt.title, device, self._sha256)
            self._note(self._cache.load())
            self.require(config.set_runtime_cache(kept), "set_runtime_cache")
        return config

    def new_context(self) -> Any:
        """An execution context without memory: its scratch_bytes are the caller's to give."""
        return self._made(self._engine.create_execution_context(self._strategy))

    def profile_for(self, shape: Shape) -> int:
        """The index of the tightest profile that holds the shape; InputError if none does."""
        fitting = [index for index, profile in enumerate(self.profiles) if profile.holds(shape)]
        if not fitting:
            ranges = ", or ".join(f"{p.smallest} to {p.largest}" for p in self.profiles)
            raise InputError(
                f"frames of shape {shape}; {self._path.name} was built for {ranges}. "
                "Resize the frames, or build it for others"
            )
        return min(fitting, key=lambda index: prod(self.profiles[index].largest))

    def batch_for(self, shape: Shape) -> int:
        """The smallest batch that a profile takes N frames (N, H, W, 3) in, filled up; else the
        largest of any profile for their size; N itself where none holds that size."""
        count, *size = shape
        of_size = [p for p in self.profiles if p.holds((p.smallest[0], *size))]
        nearest = [min(max(count, p.smallest[0]), p.largest[0]) for p in of_size]
        enough = [batch for batch in nearest if batch >= count]
        return min(enough) if enough else max(nearest, default=count)

    def require(self, done: bool, call: str) -> None:
        """TensorRT says False and goes on; a stale mask would be the result."""
        if not done:
            reason = tensorrt_api.reason(self._logger)
            raise DeviceError(f"{self._path.name}: {call} failed: {reason}. See refinenet doctor")

    def save_cache(self) -> None:
        """Keep what TensorRT-RTX compiled, if it grew; a note says it if that cannot be done.

        The caller sees to it that nothing is compiled meanwhile.
        """
        if self._cache is None:
            return
        try:
            self._note(self._cache.save())
        except Exception as error:  # TensorRT-RTX's own: no reason to lose a mask
            self._note(f"{self._cache.path.name} could not be written: {error}")

    def close(self) -> None:
        """Let TensorRT free it, once no context is left; again, it does nothing."""
        self._strategy = self._cache = self._engine = self._runtime = None

    def _note(self, note: str | None) -> None:
        if note is not None and note not in self.notes:  # a full disk is so twice
            self.notes.append(note)

    def _made(self, thing: Any) -> Any:
        """What TensorRT made, which is None where it failed."""
        if thing is None:
            reason = tensorrt_api.reason(self._logger)
            raise self._not_loaded(reason, rebuild_hint(self._path))
        return thing

    def _rtx_refusal(self, content: bytes, device: Device) -> DeviceError:
        """With what TensorRT-RTX says of a file without loading it."""
        reason = tensorrt_api.reason(self._logger)  # before it says more
        _, found = self._runtime.get_engine_validity(content)
        diagnostics = self._trt.module.EngineInvalidityDiagnostics.__members__.items()
        named = [name for name, bit in diagnostics if int(bit) & int(found)]
        hint = rebuild_hint(self._path)
        if "UNSUPPORTED_CC" in named:
            hint = (
                f"{device.name}, {device.compute_capability}, may be no GPU for TensorRT-RTX. "
                f"See refinenet doctor, or run {onnx_name(self._path)} with --provider cuda"
            )
        return self._not_loaded(f"{reason} ({', '.join(named)})" if named else reason, hint)

    def _not_loaded(self, reason: str, hint: str) -> DeviceError:
        return DeviceError(f"{self._trt.title} cannot load {self._path.name}: {reason}. {hint}")

    def _frame_and_mask(self) -> tuple[str, str]:
        """The names of the one input and the one output."""
        engine, module = self._engine, self._trt.module
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = module.TensorIOMode.INPUT
        inputs = [name for name in names if engine.get_tensor_mode(name) == is_input]
        outputs = [name for name in names if name not in inputs]
        if (
            len(inputs) != 1
            or len(outputs) != 1
            or engine.get_tensor_dtype(inputs[0]) != module.DataType.UINT8
            or len(engine.get_tensor_shape(inputs[0])) != 4
        ):
            raise InputError(
                f"{self._path} takes {', '.join(inputs)} and gives {', '.join(outputs)}; expected "
                "one uint8 frame (N, H, W, 3) and one result. Export with refinenet export, then "
                "build"
            )
        return inputs[0], outputs[0]

    def _profiles(self) -> tuple[Profile, ...]:
        if -1 not in self.input_shape:
            return (Profile(self.input_shape, self.input_shape),)
        profiles = []
        for index in range(self._engine.num_optimization_profiles):
            low, _, high = self._engine.get_tensor_profile_shape(self.input, index)
            profiles.append(Profile(tuple(low), tuple(high)))
        return tuple(profiles)
