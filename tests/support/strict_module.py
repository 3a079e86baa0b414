"""A module of cuda.bindings whose calls are checked against the real one's and then simulated."""

from __future__ import annotations

import inspect
from typing import Any

from strict_gpu import Gpu, IllegalUse

# These ask nothing of a context.
WITHOUT_CONTEXT = {
    "cudaGetDeviceCount",
    "cudaGetDevice",
    "cudaGetDeviceProperties",
    "cudaDriverGetVersion",
    "cudaGetErrorString",
    "cudaGetLastError",
}


class StrictModule:
    """cuda.bindings.runtime or cuda.bindings.driver: what is real is passed on or checked."""

    def __init__(self, real: Any, simulation: Any, gpu: Gpu) -> None:
        self._real, self._simulation, self._gpu = real, simulation, gpu

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if isinstance(real, type) or not callable(real):
            return real
        if not hasattr(self._simulation, name):
            raise IllegalUse(f"{name} is not simulated")
        signature = inspect.signature(real)
        simulated = getattr(self._simulation, name)

        def call(*args: Any) -> Any:
            bound = signature.bind(*args)
            self._check_types(name, signature, bound)
            with self._gpu.lock:
                self._gpu.drift()
                if name.startswith("cuda") and name not in WITHOUT_CONTEXT:
                    self._gpu.need_context(name)
                if self._gpu.fails(name):
                    return (self._failure(name), None)
                return simulated(*bound.args)

        return call

    def _check_types(self, name: str, signature: Any, bound: Any) -> None:
        for key, value in bound.arguments.items():
            wanted = signature.parameters[key].annotation
            if isinstance(wanted, str) and not isinstance(value, getattr(self._real, wanted)):
                raise IllegalUse(f"{name}: {key} is {value!r}, expected a {wanted}")
            if wanted is inspect.Parameter.empty and not isinstance(value, bytes | tuple):
                int(value)  # a handle, an address, a size: the bindings ask for the same

    def _failure(self, name: str) -> Any:
        if not name.startswith("cuda"):
            return self._real.CUresult.CUDA_ERROR_UNKNOWN
        memory = name in ("cudaMalloc", "cudaHostAlloc")
        code = "cudaErrorMemoryAllocation" if memory else "cudaErrorLaunchFailure"
        return getattr(self._real.cudaError_t, code)
