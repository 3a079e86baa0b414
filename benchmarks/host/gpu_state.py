"""The NVIDIA GPUs' state right now: clocks, power, temperature, memory, and what holds them back.

From NVML where nvidia-ml-py is installed, which takes microseconds, else from nvidia-smi. Nothing
here changes a setting. A machine without an NVIDIA driver has no GPUs, which is no error.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from benchmarks.records.machine import Gpu, GpuState

# nvml.h: nvmlClocksEventReason*, in older releases nvmlClocksThrottleReason*. 0x1, idle, is left
# out: nothing holds an idle GPU back.
THROTTLE_REASONS = MappingProxyType(
    {
        0x002: "applications_clocks_setting",
        0x004: "sw_power_cap",
        0x008: "hw_slowdown",
        0x010: "sync_boost",
        0x020: "sw_thermal_slowdown",
        0x040: "hw_thermal_slowdown",
        0x080: "hw_power_brake_slowdown",
        0x100: "display_clock_setting",
    }
)

FACTS = "name,driver_version,compute_cap,memory.total,power.limit"
STATE = "clocks.sm,clocks.mem,power.draw,temperature.gpu,memory.used"
REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")  # new and old name
MIB = 2**20
BUS_ID_BYTES = 32  # nvml.h: NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE


def gpus() -> tuple[Gpu, ...]:
    """What the GPUs are, from nvidia-smi."""
    return parse_gpus(_smi(FACTS) or "")


def gpu_states() -> tuple[GpuState, ...]:
    """What they are doing."""
    nvml = _nvml()
    if nvml is not None:
        handles = map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
        return tuple(_nvml_state(nvml, handle) for handle in handles)
    listings = (_smi(f"{STATE},{reasons}") for reasons in REASONS)
    return parse_states(next(filter(None, listings), _smi(STATE) or ""))


def device_memory() -> int | None:
    """Bytes in use on the GPU that is measured, by all programs; None without one.

    Without NVML it is nvidia-smi's first GPU.
    """
    nvml = _nvml()
    if nvml is not None and nvml.nvmlDeviceGetCount():
        return _nvml_state(nvml, measured_gpu(nvml)).memory_used_bytes
    return next((state.memory_used_bytes for state in gpu_states()), None)


def throttle_reasons() -> tuple[str, ...] | None:
    """What holds the GPU that is measured back now; None without NVML, since nvidia-smi is too slow
    to ask after every round."""
    nvml = _nvml()
    if nvml is None or nvml.nvmlDeviceGetCount() == 0:
        return None
    return _nvml_state(nvml, measured_gpu(nvml)).throttle_reasons


def measured_gpu(nvml: Any) -> Any:
    """NVML's handle of CUDA's current device; of NVML's first GPU where CUDA cannot be asked.

    The two count differently: NVML in the order of the bus, and also what CUDA_VISIBLE_DEVICES
    hides. What both know a GPU by is its place on the bus.
    """
    place = cuda_bus_id()
    if place is None:
        return nvml.nvmlDeviceGetHandleByIndex(0)
    try:
        return nvml.nvmlDeviceGetHandleByPciBusId(place)
    except nvml.NVMLError:  # an integrated GPU is on no bus
        return nvml.nvmlDeviceGetHandleByIndex(0)


def cuda_bus_id() -> bytes | None:
    """Such as 0000:3B:00.0, of CUDA's current device; None without cuda-python or a GPU."""
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        return None
    cuda = import_module("cuda.bindings.runtime")
    done = cuda.cudaError_t.cudaSuccess
    status, device = cuda.cudaGetDevice()
    if status != done:
        return None
    status, place = cuda.cudaDeviceGetPCIBusId(BUS_ID_BYTES, device)
    return bytes(place).rstrip(b"\0") if status == done else None


def parse_gpus(listing: str) -> tuple[Gpu, ...]:
    """nvidia-smi's CSV of FACTS, one GPU a line; what it does not report ("[N/A]") is None."""
    found = []
    for name, driver, capability, memory, limit in _rows(listing):
        known = None if _number(capability) is None else f"sm_{capability.replace('.', '')}"
        found.append(Gpu(name, driver, known, _mebibytes(memory), _number(limit)))
    return tuple(found)


def parse_states(listing: str) -> tuple[GpuState, ...]:
    """nvidia-smi's CSV of STATE, with the reasons' bits in a last column if it knows them."""
    states = []
    for sm_clock, memory_clock, power, temperature, memory, *mask in _rows(listing):
        states.append(
            GpuState(
                sm_clock_mhz=_number(sm_clock),
                memory_clock_mhz=_number(memory_clock),
                power_w=_number(power),
                temperature_c=_number(temperature),
                memory_used_bytes=_mebibytes(memory),
                throttle_reasons=_reasons_of("".join(mask)),
            )
        )
    return tuple(states)


def reasons(bits: int) -> tuple[str, ...]:
    """The names of the bits that are set."""
    return tuple(name for bit, name in THROTTLE_REASONS.items() if bits & bit)


def _reasons_of(mask: str) -> tuple[str, ...] | None:
    return reasons(int(mask, 16)) if mask.startswith("0x") else None


@cache
def _nvml() -> Any | None:
    """nvidia-ml-py, started; None where it is not installed or finds no driver."""
    if find_spec("pynvml") is None:
        return None
    nvml = import_module("pynvml")
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml


def _nvml_state(nvml: Any, device: Any) -> GpuState:

    def ask(question: Callable[..., Any], *about: Any) -> Any | None:
        answer = None
        with suppress(nvml.NVMLError):  # a Jetson's driver, or a virtual GPU, knows less
            answer = question(device, *about)
        return answer

    power_mw = ask(nvml.nvmlDeviceGetPowerUsage)
    memory = ask(nvml.nvmlDeviceGetMemoryInfo)
    bits = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
    return GpuState(
        sm_clock_mhz=_float(ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM)),
        memory_clock_mhz=_float(ask(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM)),
        power_w=None if power_mw is None else power_mw / 1e3,
        temperature_c=_float(ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)),
        memory_used_bytes=None if memory is None else int(memory.used),
        throttle_reasons=None if bits is None else reasons(bits),
    )


def _smi(fields: str) -> str | None:
    """nvidia-smi's answer; None where it is not installed, fails or hangs."""
    command = ("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _rows(listing: str) -> list[Sequence[str]]:
    return [[f.strip() for f in line.split(",")] for line in listing.splitlines() if line.strip()]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _float(value: Any | None) -> float | None:
    return None if value is None else float(value)


def _mebibytes(text: str) -> int | None:
    number = _number(text)
    return None if number is None else round(number * MIB)
