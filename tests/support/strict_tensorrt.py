"""TensorRT on the strict GPU, with the names and signatures of one real release.

Every attribute is looked up in the release's API as it was read off the real package: what is not
there, a read-only property that is set, or arguments that fit no overload raise IllegalUse, and so
does use in an order that TensorRT forbids. The engine computes what tiny_models.brightest_channel
says, in two steps with the scratch memory in between.
"""

from __future__ import annotations

import enum
import json
import re
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from strict_gpu import Gpu, IllegalUse, Operation

from runtime.tensorrt_api import TensorRT

Shape = tuple[int, ...]
STATES_OF_SHAPE = ("set_input_shape", "set_optimization_profile_async")
CACHE_HEAD = b"kernels of "
FLAGS = ("EngineInvalidityDiagnostics",)  # whose members are bits


@dataclass(frozen=True)
class EngineFile:
    """The engine that any file is loaded as.

    input_shape: -1 for a free dimension. profiles: the smallest and the largest shape of each.
    failing: calls that return False or None. invalidity: TensorRT-RTX's diagnostics of the file.
    """

    input_shape: Shape
    profiles: tuple[tuple[Shape, Shape], ...] = ()
    output: str = "mask"
    scratch_bytes: int = 2 * 2**20
    failing: frozenset[str] = frozenset()
    invalidity: tuple[str, ...] = ()
    version: str = ""


class Api:
    """One release's public names."""

    def __init__(self, path: Path) -> None:
        content = json.loads(path.read_text())
        self.package, self.version = content["package"], content["version"]
        self.classes: dict[str, Any] = content["classes"]
        self.functions: dict[str, str] = content["functions"]
        self.enums = {name: enum.IntFlag(name, members) if name in FLAGS  # type: ignore[misc]
                      else enum.IntEnum(name, members, start=0)  # type: ignore[misc]
                      for name, members in content["enums"].items()}  # fmt: skip

    def member(self, kind: str, name: str) -> Any:
        if name not in self.classes.get(kind, {}):
            raise IllegalUse(f"{self.package} {self.version} has no {kind}.{name}")
        return self.classes[kind][name]


class Checked:
    """A simulated object behind the API of its class."""

    def __init__(self, api: Api, kind: str, simulation: Any) -> None:
        self.__dict__.update(_api=api, _kind=kind, _simulation=simulation)

    def __getattr__(self, name: str) -> Any:
        member = self._api.member(self._kind, name)
        if isinstance(member, str):
            return getattr(self._simulation, name)
        overloads = [line for line in member if re.match(r"(\d+\. )?\w+\(self", line)]
        signatures = [_parameters(line) for line in overloads]

        def call(*args: Any) -> Any:
            if not any(_fits(signature, args) for signature in signatures):
                raise IllegalUse(f"{self._kind}.{name}{args} fits none of {overloads}")
            gpu: Gpu = self._simulation.gpu
            with gpu.lock:
                gpu.drift()
                gpu.calls.append(name)
                return getattr(self._simulation, name)(*args)

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        member = self._api.member(self._kind, name)
        if member != "property":
            raise IllegalUse(f"{self._kind}.{name} cannot be set: {member}")
        setattr(self._simulation, name, value)


def _parameters(signature: str) -> list[tuple[str, bool]]:
    """The type of each parameter but self, and whether it has a default."""
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    inside = re.sub(r"= <[^>]*>", "= default", inside)
    parts, depth = [""], 0
    for letter in inside:
        depth += {"[": 1, "(": 1, "]": -1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [(part.partition(": ")[2].partition(" = ")[0], " = " in part) for part in parts[1:]]


def _fits(parameters: Sequence[tuple[str, bool]], args: Sequence[Any]) -> bool:
    required = sum(not default for _, default in parameters)
    if not required <= len(args) <= len(parameters):
        return False
    return all(_accepts(kind, arg) for (kind, _), arg in zip(parameters, args, strict=False))


def _accepts(kind: str, value: Any) -> bool:
    plain = {"str": str, "tuple": tuple, "list": list, "bool": bool}
    if kind in plain:
        return isinstance(value, plain[kind])
    if kind in ("int", "typing.SupportsInt"):
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in ("buffer", "typing_extensions.Buffer"):
        return isinstance(value, bytes | bytearray | memoryview)
    name = re.split(r"\.|::", kind)[-1]
    found = value._kind if isinstance(value, Checked) else type(value).__name__
    return bool(found == name)


@dataclass
class Context:
    """IExecutionContext."""

    gpu: Gpu
    engine: Engine
    strategy: str
    graphs: str
    active_optimization_profile: int
    shape: Shape | None = None
    warm: bool = False
    addresses: dict[str, int] = field(default_factory=dict)
    memory: tuple[int, int] | None = None
    used_by: Any = field(default_factory=threading.Lock)

    def set_device_memory(self, memory: int, size: int) -> None:
        if self.strategy != "USER_MANAGED":
            raise IllegalUse("set_device_memory on a context that has its own")
        if memory % 256 or size < self.engine.device_memory_size_v2:
            raise IllegalUse(f"scratch of {size} bytes at {memory:#x}: misaligned or too small")
        self.gpu.bytes_at(memory, size, "device")
        self.memory = (memory, size)

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.gpu.queue(stream, Operation(lambda: None))
        self.active_optimization_profile, self.shape, self.warm = index, None, False
        in_range = 0 <= index < self.engine.num_optimization_profiles
        return in_range and self._works("set_optimization_profile_async")

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        if name != "frame":
            raise IllegalUse(f"there is no input {name}")
        if self.active_optimization_profile < 0:
            raise IllegalUse("set_input_shape before a profile was chosen")
        low, _, high = self.engine.get_tensor_profile_shape(name, self.active_optimization_profile)
        if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return False
        self.warm = self.warm and shape == self.shape
        self.shape = tuple(shape)
        return self._works("set_input_shape")

    def get_tensor_shape(self, name: str) -> Shape:
        if self.shape is None:
            return self.engine.get_tensor_shape(name)
        return self.shape if name == "frame" else self.engine.output_shape(self.shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in ("frame", self.engine.file.output):
            raise IllegalUse(f"there is no tensor {name}")
        self.gpu.bytes_at(memory, 1, "device", "mapped")
        self.addresses[name] = memory
        return self._works("set_tensor_address")

    def execute_async_v3(self, stream: int) -> bool:
        self.gpu.need_context("execute_async_v3")
        self._check_ready(stream)
        if not self._works("execute_async_v3"):
            return False
        self.warm = True
        self.engine.compiled.add(self.shape)
        self.enqueue(stream)
        return True

    def enqueue(self, stream: int) -> None:
        """Put the network on the stream: in two steps, with the scratch memory in between."""
        shape, this, engine = self.shape, weakref.ref(self), self.engine
        source, target = self.addresses["frame"], self.addresses[engine.file.output]
        scratch = self.memory[0] if self.memory else 0
        size = prod(engine.output_shape(shape)) * engine.itemsize
        place = ("device",) if scratch else ("device", "mapped")

        def compute() -> None:
            if this() is None:
                raise IllegalUse("the context was gone before its work was done")
            frames = self_bytes(source, prod(shape)).reshape(shape)
            self_bytes(scratch or target, size, *place)[:] = engine.compute(frames)

        def deliver() -> None:
            if scratch:
                self_bytes(target, size)[:] = self_bytes(scratch, size)

        gpu = self.gpu

        def self_bytes(address: int, count: int, *kinds: str) -> Any:
            return gpu.bytes_at(address, count, *(kinds or ("device", "mapped")))

        self.gpu.queue(stream, Operation(compute))
        self.gpu.queue(stream, Operation(deliver))

    def _check_ready(self, stream: int) -> None:
        if self.shape is None:
            raise IllegalUse("execute_async_v3 before the input's shape was set")
        if set(self.addresses) != {"frame", self.engine.file.output}:
            raise IllegalUse(f"execute_async_v3 with only {sorted(self.addresses)} bound")
        if self.strategy == "USER_MANAGED" and self.memory is None:
            raise IllegalUse("execute_async_v3 without the memory that the user manages")
        if stream <= 2:
            raise IllegalUse("execute_async_v3 on a default stream")
        if stream in self.gpu.captures and not self.warm:
            raise IllegalUse("a capture before this shape has run once")
        if stream in self.gpu.captures and self.graphs != "DISABLED":
            raise IllegalUse("a capture of a context that captures by itself")

    def _works(self, call: str) -> bool:
        return call not in self.engine.file.failing


class Engine:
    """ICudaEngine."""

    num_io_tensors = 2
    num_layers = 1
    context_type = Context

    def __init__(self, strict: StrictTensorRT, file: EngineFile) -> None:
        self.strict, self.file, self.gpu = strict, file, strict.gpu
        self.itemsize = 1 if file.output == "mask" else 4
        self.device_memory_size_v2 = file.scratch_bytes
        self.num_optimization_profiles = max(1, len(file.profiles))
        self.compiled: set[Shape] = set()
        self.contexts = 0

    def compute(self, frames: Any) -> Any:
        """The result's bytes."""
        if self.file.output == "mask":
            return frames.argmax(3).astype(np.uint8).ravel()
        logits = np.ascontiguousarray(frames.transpose(0, 3, 1, 2), np.float32)
        return logits.view(np.uint8).ravel()

    def output_shape(self, shape: Shape) -> Shape:
        return shape[:3] if self.file.output == "mask" else (shape[0], 3, *shape[1:3])

    def get_tensor_name(self, index: int) -> str:
        return ("frame", self.file.output)[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes = self.strict.api.enums["TensorIOMode"]
        return modes["INPUT" if name == "frame" else "OUTPUT"]

    def get_tensor_dtype(self, name: str) -> Any:
        types = self.strict.api.enums["DataType"]
        return types["FLOAT" if name == "logits" else "UINT8"]

    def get_tensor_shape(self, name: str) -> Shape:
        shape = self.file.input_shape
        return shape if name == "frame" else self.output_shape(shape)

    def get_tensor_profile_shape(self, _: str, index: int) -> list[Shape]:
        if not self.file.profiles:
            return [self.file.input_shape] * 3
        low, high = self.file.profiles[index]
        return [low, high, high]

    def create_runtime_config(self) -> Checked:
        return self.strict.checked("IRuntimeConfig", RuntimeConfig(self.strict))

    def create_execution_context(self, config: Any = None) -> Checked | None:
        self.gpu.need_context("create_execution_context")
        if "create_execution_context" in self.file.failing:
            return None
        strategy, graphs = "STATIC", "DISABLED"
        if isinstance(config, Checked):
            settings = config._simulation
            strategy, graphs = settings.strategy, settings.cuda_graph_strategy.name
        elif config is not None:
            strategy = config.name
        # TensorRT chooses a profile for the first context alone.
        profile = 0 if self.contexts == 0 else -1
        self.contexts += 1
        context = self.context_type(self.gpu, self, strategy, graphs, profile)
        if -1 not in self.file.input_shape:
            context.active_optimization_profile = 0
        return self.strict.checked("IExecutionContext", context)


class RuntimeConfig:
    """IRuntimeConfig of TensorRT-RTX; `made` keeps the last one for the test to look at."""

    def __init__(self, strict: StrictTensorRT) -> None:
        enums = strict.api.enums
        self.strict, self.gpu, self.strategy, self.cache = strict, strict.gpu, "STATIC", None
        self.cuda_graph_strategy = enums["CudaGraphStrategy"]["DISABLED"]
        name = "DynamicShapesKernelSpecializationStrategy"
        self.dynamic_shapes_kernel_specialization_strategy = enums[name]["LAZY"]
        strict.config = self

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy.name

    def create_runtime_cache(self) -> Checked:
        return self.strict.checked("IRuntimeCache", RuntimeCache(self.strict))

    def set_runtime_cache(self, cache: Checked) -> bool:
        self.cache = cache
        return True


class RuntimeCache:
    """IRuntimeCache: what was compiled, as text."""

    def __init__(self, strict: StrictTensorRT) -> None:
        self.strict, self.gpu, self.known = strict, strict.gpu, b""

    def deserialize(self, blob: bytes) -> bool:
        if not bytes(blob).startswith(CACHE_HEAD):
            return False
        self.known = bytes(blob)
        return True

    def serialize(self) -> bytes:
        shapes = sorted(self.strict.engine.compiled)
        return CACHE_HEAD + str(shapes).encode() if shapes else self.known


class Runtime:
    """Runtime."""

    def __init__(self, strict: StrictTensorRT, logger: Any) -> None:
        self.strict, self.gpu, self.logger = strict, strict.gpu, logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, content: bytes) -> Checked | None:
        self.gpu.need_context("deserialize_cuda_engine")
        if "deserialize_cuda_engine" in self.strict.file.failing:
            self.logger.log(self.logger.Severity.ERROR, "the magic tag\ndoes not match")
            return None
        if self.strict.needs_host_code and not self.engine_host_code_allowed:
            self.logger.log(self.logger.Severity.ERROR, "host code is not allowed")
            return None
        return self.strict.checked("ICudaEngine", self.strict.load(content))

    def get_engine_validity(self, _: bytes) -> tuple[Any, int]:
        members = self.strict.api.enums["EngineInvalidityDiagnostics"]
        invalid = self.strict.api.enums["EngineValidity"]["INVALID"]
        return invalid, sum(int(members[name]) for name in self.strict.file.invalidity)


class StrictTensorRT:
    """One release on one GPU. module: what `import tensorrt` would give."""

    def __init__(self, api: Path, gpu: Gpu, file: EngineFile) -> None:
        self.api, self.gpu, self.file = Api(api), gpu, file
        self.needs_host_code = False
        self.config: RuntimeConfig | None = None
        self.engine: Any = None
        enums = self.api.enums
        severity = enums["ILogger.Severity"]

        class ILogger:
            Severity = severity

        names = {name: value for name, value in enums.items() if "." not in name}
        self.module = SimpleNamespace(
            **names,
            ILogger=ILogger,
            Runtime=lambda logger: self.checked("Runtime", Runtime(self, logger)),
            nptype=self._nptype,
            __version__=self.api.version,
        )

    def load(self, _: bytes) -> Engine:
        """The engine in a file."""
        self.engine = Engine(self, self.file)
        return self.engine

    def checked(self, kind: str, simulation: Any) -> Checked:
        if kind not in self.api.classes:
            raise IllegalUse(f"{self.api.package} {self.api.version} has no {kind}")
        return Checked(self.api, kind, simulation)

    def _nptype(self, kind: Any) -> type:
        if "nptype" not in self.api.functions:
            raise IllegalUse("nptype is not in this release")
        return {"UINT8": np.uint8, "FLOAT": np.float32, "HALF": np.float16}[kind.name]

    @property
    def trt(self) -> TensorRT:
        name = "rtx" if self.api.package == "tensorrt_rtx" else "tensorrt"
        return TensorRT(name, self.api.version, self.module)
