"""What a plan may cost on a GPU by its data sheet: an estimate, neither a bound nor a measurement.

A kernel is taken to last as long as the longer of two times, and LAUNCH_SECONDS more: its bytes
over the bandwidth, and its multiply-accumulates over the rate of the units that compute its type
(Williams, Waterman and Patterson, Roofline, CACM 2009). Two ends are given: everything in the L2
cache with FP16 accumulation, and everything in memory with FP32 accumulation. Believe a comparison
of two plans where both ends agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.engine.gpu_sheets import GPUS, Gpu
from runtime.engine.plan import Kernel, Plan
from runtime.errors import InputError

LAUNCH_SECONDS = 2e-6
CACHE_OVER_MEMORY = 4  # L2 bandwidth over memory's: an assumption, no data sheet states it


@dataclass(frozen=True)
class Range:
    """Milliseconds. cached: all in cache, FP16 accumulation. in_memory: all in memory, FP32
    accumulation."""

    cached: float
    in_memory: float

    def __str__(self) -> str:
        return f"{self.cached:.3f} to {self.in_memory:.3f} ms"


def gpu_named(name: str) -> Gpu:
    """InputError for a GPU without a data sheet here."""
    if name not in GPUS:
        raise InputError(f"no data sheet of the GPU '{name}'; expected one of {', '.join(GPUS)}")
    return GPUS[name]


def kernel_estimate(kernel: Kernel, gpu: Gpu) -> Range:
    return Range(
        _milliseconds(
            kernel, CACHE_OVER_MEMORY * gpu.memory, _rate(kernel, gpu, gpu.fp16_sum_fp16)
        ),
        _milliseconds(kernel, gpu.memory, _rate(kernel, gpu, gpu.fp16_sum_fp32)),
    )


def plan_estimate(plan: Plan, gpu: Gpu) -> Range:
    """The sum over all kernels, as if they ran one after the other."""
    ranges = [kernel_estimate(kernel, gpu) for kernel in plan.kernels]
    return Range(sum(r.cached for r in ranges), sum(r.in_memory for r in ranges))


def _milliseconds(kernel: Kernel, bandwidth: float, rate: float) -> float:
    return 1e3 * (max(kernel.bytes / bandwidth, 2 * kernel.macs / rate) + LAUNCH_SECONDS)


def _rate(kernel: Kernel, gpu: Gpu, half: float) -> float:
    rates = {"int8": gpu.int8, "bf16": gpu.fp16_sum_fp32, "fp32": gpu.fp32}
    return rates.get(kernel.weights.type if kernel.weights else "", half)
