"""A Jetson's state from one line of tegrastats, which ships with JetPack."""

from __future__ import annotations

import re
import subprocess

from benchmarks.records.machine import JetsonState

MIB = 2**20


def jetson_state() -> JetsonState | None:
    """The state now; None on a machine without tegrastats."""
    line = _first_line("tegrastats", "--interval", "100")
    mode = _first_line("nvpmodel", "-q")  # "NV Power Mode: MAXN"
    return None if line is None else parse_tegrastats(line, (mode or "").partition(": ")[2] or None)


def parse_tegrastats(line: str, power_mode: str | None = None) -> JetsonState:
    """One line; what it lacks is None or empty.

    GPU: `GR3D_FREQ 45%@[1007]`, without the clock on some releases. Memory controller:
    `EMC_FREQ 3%@2133`. Rails: `VDD_GPU_SOC 2000mW/1900mW`, now and on average. Zones: `gpu@48C`.
    """
    gpu = re.search(r"GR3D_FREQ (\d+)%(?:@\[?(\d+))?", line)
    memory_clock = re.search(r"EMC_FREQ (?:\d+%)?@(\d+)", line)
    memory = re.search(r"\bRAM (\d+)/\d+MB", line)
    rails = re.findall(r"\b([A-Z][A-Z0-9_]+) (\d+)(?:mW)?/\d+(?:mW)?(?= |$)", line)
    zones = re.findall(r"\b([A-Za-z][\w-]*)@(-?\d+(?:\.\d+)?)C\b", line)
    return JetsonState(
        gpu_share=int(gpu[1]) / 100 if gpu else None,
        gpu_clock_mhz=float(gpu[2]) if gpu and gpu[2] else None,
        memory_clock_mhz=float(memory_clock[1]) if memory_clock else None,
        memory_used_bytes=int(memory[1]) * MIB if memory else None,
        power_w={name: int(milliwatts) / 1e3 for name, milliwatts in rails},
        temperature_c={name: float(degrees) for name, degrees in zones},
        power_mode=power_mode,
    )


def _first_line(*command: str) -> str | None:
    """What a program prints first; it is stopped then, since tegrastats never ends by itself."""
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return None
    with process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        process.terminate()
    return line or None
