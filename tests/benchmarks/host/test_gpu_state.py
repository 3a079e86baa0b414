"""GPUs and Jetsons say what they say, and nothing where they say nothing."""

import pytest

from benchmarks.host import gpu_state
from benchmarks.host.gpu_state import cuda_bus_id, measured_gpu, parse_gpus, parse_states
from benchmarks.host.tegrastats import parse_tegrastats
from benchmarks.records.machine import Gpu, GpuState

ORIN = (
    "11-21-2026 10:15:03 RAM 4722/30697MB (lfb 3x4MB) SWAP 0/15349MB (cached 0MB) CPU "
    "[12%@1113,0%@1113,off,off] EMC_FREQ 3%@2133 GR3D_FREQ 45%@[1007,1007] NVENC off "
    "cpu@47.812C soc2@44.968C gpu@48C tj@50.437C VDD_GPU_SOC 3598mW/2401mW "
    "VDD_CPU_CV 399mW/399mW VIN_SYS_5V0 3019mW/2717mW"
)
XAVIER = "RAM 2402/7772MB (lfb 2x2MB) CPU [5%@1190] EMC_FREQ 0%@1600 GR3D_FREQ 0% AO@36.5C GPU@37C"


def test_gpus_are_read_line_by_line_and_missing_figures_stay_missing() -> None:
    a4000 = "NVIDIA RTX A4000, 580.65.06, 8.6, 16376, 140.00"
    orin = "Orin (nvgpu), 540.4.0, 8.7, [N/A], [N/A]"
    listing = f"{a4000}\n{orin}\n"
    assert parse_gpus(listing) == (
        Gpu("NVIDIA RTX A4000", "580.65.06", "sm_86", 16376 * 2**20, 140.0),
        Gpu("Orin (nvgpu)", "540.4.0", "sm_87", None, None),
    )


def test_what_holds_a_gpu_back_is_named_and_idling_is_not() -> None:
    listing = (
        "1410, 1593, 71.35, 34, 1024, 0x0000000000000001\n"
        "1200, 1593, 699.10, 84, 2048, 0x0000000000000024\n"
        "[N/A], [N/A], [N/A], [N/A], [N/A], [N/A]\n"
    )
    idle, hot, silent = parse_states(listing)
    assert idle == GpuState(1410.0, 1593.0, 71.35, 34.0, 2**30, ())
    assert hot.throttle_reasons == ("sw_power_cap", "sw_thermal_slowdown")
    assert silent == GpuState(None, None, None, None, None, None)


def test_an_older_driver_does_not_say_what_holds_it_back() -> None:
    (state,) = parse_states("1410, 1593, 71.35, 34, 1024\n")
    assert state.throttle_reasons is None


class Nvml:
    """Two GPUs, by NVML's numbers and by their place on the bus."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802  # NVML's name
        return ("old", "new")[index]

    def nvmlDeviceGetHandleByPciBusId(self, place: bytes) -> str:  # noqa: N802  # NVML's name
        return {b"0000:3B:00.0": "new"}[place]


def test_the_gpu_is_found_by_its_place_on_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_state, "cuda_bus_id", lambda: b"0000:3B:00.0")
    assert measured_gpu(Nvml()) == "new"
    monkeypatch.setattr(gpu_state, "cuda_bus_id", lambda: None)
    assert measured_gpu(Nvml()) == "old"


def test_a_place_on_the_bus_is_bytes_or_nothing() -> None:
    place = cuda_bus_id()
    assert place is None or place.count(b":") == 2


def test_a_line_of_tegrastats_on_an_orin() -> None:
    state = parse_tegrastats(ORIN, "MAXN")
    assert (state.gpu_share, state.gpu_clock_mhz, state.memory_clock_mhz) == (0.45, 1007.0, 2133.0)
    assert state.memory_used_bytes == 4722 * 2**20
    assert state.power_w == {"VDD_GPU_SOC": 3.598, "VDD_CPU_CV": 0.399, "VIN_SYS_5V0": 3.019}
    assert state.temperature_c == {"cpu": 47.812, "soc2": 44.968, "gpu": 48.0, "tj": 50.437}
    assert state.power_mode == "MAXN"


def test_what_a_line_of_tegrastats_lacks_is_missing() -> None:
    state = parse_tegrastats(XAVIER)
    assert (state.gpu_share, state.gpu_clock_mhz, state.power_w) == (0.0, None, {})
    assert state.temperature_c == {"AO": 36.5, "GPU": 37.0}
