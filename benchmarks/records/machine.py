"""The machine in a record: what it is, and the state it was in before and after the rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One GPU, what does not change while it runs; None for what its driver does not report.

    memory_bytes: its own memory. compute_capability: such as sm_86.
    """

    name: str
    driver: str
    compute_capability: str | None
    memory_bytes: int | None
    power_limit_w: float | None


@dataclass(frozen=True)
class GpuState:
    """One GPU at one moment; None for what its driver does not report.

    throttle_reasons: why it ran below its clocks, in NVML's words without their prefix, such as
    sw_power_cap, hw_thermal_slowdown; empty where nothing held it back, gpu_idle included.
    """

    sm_clock_mhz: float | None
    memory_clock_mhz: float | None
    power_w: float | None
    temperature_c: float | None
    memory_used_bytes: int | None
    throttle_reasons: tuple[str, ...] | None


@dataclass(frozen=True)
class JetsonState:
    """A Jetson at one moment, from one line of tegrastats; None for what the line lacks.

    power_w: by rail, such as VDD_GPU_SOC. temperature_c: by zone, such as gpu.
    gpu_share: of the GPU's time in use, 0 to 1. power_mode: nvpmodel's name, such as MAXN.
    """

    gpu_share: float | None
    gpu_clock_mhz: float | None
    memory_clock_mhz: float | None
    memory_used_bytes: int | None
    power_w: Mapping[str, float]
    temperature_c: Mapping[str, float]
    power_mode: str | None


@dataclass(frozen=True)
class MachineState:
    """The machine at one moment.

    utc: ISO 8601. load_average: of the last minute; what other work the machine had.
    cpu_clock_mhz: the mean over the cores, None where the system does not say.
    gpus: in the order of Environment.gpus. jetson: None on any other machine.
    """

    utc: str
    load_average: float | None
    cpu_clock_mhz: float | None
    gpus: tuple[GpuState, ...]
    jetson: JetsonState | None


@dataclass(frozen=True)
class Environment:
    """The machine and the software, what does not change while a benchmark runs.

    cores: that this process may use. versions: of the installed packages that matter.
    commit: None outside a git checkout.
    """

    system: str
    python: str
    cpu: str
    cores: int
    versions: Mapping[str, str]
    commit: str | None
    commit_is_dirty: bool | None
    gpus: tuple[Gpu, ...]
