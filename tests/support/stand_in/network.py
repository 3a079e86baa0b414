"""The strict TensorRT of the tests, whose contexts launch real kernels on real CUDA.

Names, signatures and order of the calls are those of strict_tensorrt. Memory, streams, events and
graphs are CUDA's own.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

from cuda.bindings import driver
from strict_gpu import IllegalUse, Operation
from strict_tensorrt import Context, Engine, EngineFile, Shape, StrictTensorRT
from tiny_models import CARD

from runtime.card import write_sidecar
from stand_in.kernels import Kernels, checked

ROOT = Path(__file__).resolve().parents[3]
SUPPORT = ROOT / "tests/support"
PACKAGE = SUPPORT / "stand_in/package"  # has the module tensorrt
VERSION = "11.4.0.106"
API = ROOT.parent / f"shared/reference/tensorrt-api/{VERSION}.json"
ALIGNMENT = 256  # of scratch memory, as in TensorRT


def write_engine(
    path: Path,
    shape: Sequence[int | None],
    profiles: Sequence[tuple[Shape, Shape]] = (),
    *,
    scratch_bytes: int = 0,
    compute_capability: str,
) -> Path:
    """Write an engine of the stand-in, with its sidecar.

    shape: (N, H, W, 3), None for a free dimension. profiles: the smallest and the largest shape of
    each. scratch_bytes: at least so much; the masks of the largest shape have to fit in any case.
    compute_capability: of the GPU, such as sm_90.
    """
    largest = max((prod(high[:3]) for _, high in profiles), default=0) or prod(shape[:3])
    scratch_bytes = -(-max(scratch_bytes, largest) // ALIGNMENT) * ALIGNMENT
    content = {
        "input_shape": [-1 if size is None else size for size in shape],
        "profiles": profiles,
        "scratch_bytes": scratch_bytes,
    }
    path.write_text(json.dumps(content))
    build = {
        "package": "tensorrt",
        "version": VERSION,
        "compute_capabilities": [compute_capability],
    }
    write_sidecar(path, CARD, build)
    return path


def engine_file(content: bytes) -> EngineFile:
    """What write_engine wrote; ValueError for anything else."""
    facts = json.loads(content)
    profiles = tuple((tuple(low), tuple(high)) for low, high in facts["profiles"])
    return EngineFile(tuple(facts["input_shape"]), profiles, scratch_bytes=facts["scratch_bytes"])


class RealGpu:
    """What the strict TensorRT asks of a GPU, answered by CUDA itself."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.calls: deque[str] = deque(maxlen=1000)  # of ten thousand frames not all
        self.captures = Captures()

    def drift(self) -> None:
        """The strict GPU runs some work here; a real one runs by itself."""

    def need_context(self, call: str) -> None:
        """IllegalUse where no context is current."""
        if not int(checked(driver.cuCtxGetCurrent())):
            raise IllegalUse(f"{call} without a current context")

    def bytes_at(self, address: int, size: int, *kinds: str) -> None:
        """CUDA itself refuses a wrong address, once a kernel uses it."""

    def queue(self, stream: int, operation: Operation) -> None:
        """The change of a profile is nothing that the stand-in has to run."""


class Captures:
    """The streams that are being captured."""

    def __contains__(self, stream: int) -> bool:
        return int(checked(driver.cuStreamIsCapturing(stream))) != 0


class StandInContext(Context):
    """IExecutionContext, whose network is kernels.cu."""

    def enqueue(self, stream: int) -> None:
        if self.memory is None or self.shape is None:
            raise IllegalUse("the stand-in computes in scratch memory, which was never set")
        frames, masks = self.addresses["frame"], self.addresses["mask"]
        pixels = prod(self.shape[:3])
        self.engine.kernels.network(stream, frames, masks, *self.memory, pixels)


class StandInEngine(Engine):
    """ICudaEngine. Its kernels are loaded into the CUDA context that is current now."""

    context_type = StandInContext

    def __init__(self, strict: StandIn, file: EngineFile) -> None:
        super().__init__(strict, file)
        self.kernels = Kernels()

    def __del__(self) -> None:
        # As TensorRT's own engine: freed with the last reference, in the context that is current.
        if hasattr(self, "kernels"):
            self.kernels.unload()


class StandIn(StrictTensorRT):
    """TensorRT on real CUDA."""

    def __init__(self, api: Path = API) -> None:
        super().__init__(api, RealGpu(), EngineFile(()))  # type: ignore[arg-type]
        self._loaded: Any = None

    def load(self, content: bytes) -> StandInEngine:
        """The engine that write_engine wrote, with its kernels."""
        engine = StandInEngine(self, engine_file(content))
        self._loaded = weakref.ref(engine)  # whoever opened it owns it
        return engine

    @property
    def kernels(self) -> Kernels:
        """Those of the engine loaded last; its CUDA context must be current to use them."""
        engine: StandInEngine = self._loaded()
        return engine.kernels
