"""What exporting and building cost, as a user meets it: time and peak memory of each command.

Weights are those of an untrained network: their values change neither.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from refinenet.checkpoints import published_card, save_checkpoint
from refinenet.variants import create_model
from runtime.errors import InputError

CLASSES = 21
KIBIBYTE = 1024  # Linux's unit of ru_maxrss


@dataclass(frozen=True)
class CommandCost:
    """wall_seconds, cpu_seconds: of the whole process. peak_bytes: its largest resident set."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int


def export_cost(variant: str, size: tuple[int, int]) -> dict[str, float]:
    """The figures of one variant: of `export` to FP32, and of `build` by TensorRT-RTX.

    size: (height, width) of the frames.

    Raises InputError for an unknown variant, or where a command fails, with its own last line.
    """
    with TemporaryDirectory() as folder:
        weights = Path(folder, f"{variant}.safetensors")
        save_checkpoint(weights, create_model(variant, CLASSES), published_card(variant, CLASSES))
        frames = f"{size[0]}x{size[1]}"
        exported = command_cost(
            ("export", str(weights), "--output", folder, "--size", frames, "--precision", "fp32")
        )
        onnx_file = weights.with_suffix(".fp32.onnx")
        built = command_cost(("build", str(onnx_file), "--runtime", "rtx"))
        return {
            "weights_bytes": weights.stat().st_size,
            **_named("export", exported),
            **_named("build", built),
        }


def command_cost(arguments: Sequence[str]) -> CommandCost:
    """Run one `refinenet` command in a process of its own.

    Raises InputError with its last line if it fails.
    """
    command = (sys.executable, "-m", "refinenet", *arguments, "--quiet")
    with TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(process.pid, 0)  # the resources of this one child
        wall_seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            said = errors.read().strip().splitlines() or ["no message"]
            raise InputError(f"refinenet {arguments[0]} failed: {said[-1]}")
    cpu_seconds = used.ru_utime + used.ru_stime
    return CommandCost(round(wall_seconds, 2), round(cpu_seconds, 2), used.ru_maxrss * KIBIBYTE)


def _named(command: str, cost: CommandCost) -> dict[str, float]:
    return {f"{command}_{name}": value for name, value in asdict(cost).items()}
