"""The machine and the software that a measurement ran on, as far as they can be read."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.host.gpu_state import gpu_states, gpus
from benchmarks.host.tegrastats import jetson_state
from benchmarks.records.machine import Environment, MachineState

CHECKOUT = Path(__file__).resolve().parents[2]

# One package may come under several names: the GPU build and the CPU build, cu12 and cu13.
PACKAGES = (
    "refinenet-deploy",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx-cu12",
    "tensorrt-rtx-cu13",
    "torch-tensorrt",
    "nvidia-ml-py",
    "cuda-python",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
)


def environment() -> Environment:
    """Read it now; what cannot be read is None, empty or "unknown", never guessed."""
    commit = _output("git", "-C", str(CHECKOUT), "rev-parse", "HEAD") if _is_checkout() else None
    changes = _output("git", "-C", str(CHECKOUT), "status", "--porcelain") if commit else None
    return Environment(
        system=platform.platform(),
        python=platform.python_version(),
        cpu=_cpu_model(),
        cores=_usable_cores(),
        versions=_versions(),
        commit=commit,
        commit_is_dirty=None if changes is None else bool(changes),
        gpus=gpus(),
    )


def machine_state() -> MachineState:
    """What may change while a benchmark runs, as it is now."""
    return MachineState(
        utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        cpu_clock_mhz=_cpu_clock_mhz(),
        gpus=gpu_states(),
        jetson=jetson_state(),
    )


def _cpu_clock_mhz() -> float | None:
    """The mean over the cores; x86 Linux has it in /proc/cpuinfo, ARM in the scheduler's files."""
    clocks = [float(line.partition(":")[2]) for line in _cpuinfo() if line.startswith("cpu MHz")]
    files = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    clocks = clocks or [int(file.read_text(encoding="ascii")) / 1e3 for file in files]
    return round(sum(clocks) / len(clocks), 1) if clocks else None


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _cpu_model() -> str:
    """The model name; Linux has it in /proc/cpuinfo, on ARM often only in the device tree."""
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    board = Path("/proc/device-tree/model")
    name = board.read_text(encoding="utf-8").strip("\0\n ") if board.exists() else ""
    return name or platform.processor() or "unknown"


def _usable_cores() -> int:
    if hasattr(
        os, "sched_getaffinity"
    ):  # fewer than os.cpu_count() in a container or under taskset
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _is_checkout() -> bool:
    """Whether this is our own checkout: installed elsewhere, git would answer for another one."""
    top = _output("git", "-C", str(CHECKOUT), "rev-parse", "--show-toplevel")
    return top is not None and Path(top).resolve() == CHECKOUT


def _output(*command: str) -> str | None:
    """What a program prints, or None where it is not installed, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
