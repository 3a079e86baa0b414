"""What exporting and building cost, as a user meets it: time and peak memory of each command.

Weights are those of an untrained network: their values change neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from runtime.errors import InputError
from tools.timed_command import Cost, run
from tools.variants.measure import PHOTO


def export_cost(variant: str, size: tuple[int, int]) -> dict[str, float]:
    """The figures of one variant: of `export` to FP32, and of `build` by TensorRT-RTX.

    size: (height, width) of the frames.

    Raises InputError for an unknown variant, or where a command fails, with its own last line.
    """
    with TemporaryDirectory() as folder:
        weights = Path(folder, f"{variant}.safetensors")
        # Not in this process: Linux begins a child's peak memory with its parent's.
        made = run(("tools.variants.generated_weights", variant, str(weights), str(PHOTO)))
        if made.exit_code:
            raise InputError(f"no weights for {variant}: {made.message or 'no message'}")
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


def command_cost(arguments: Sequence[str]) -> Cost:
    """Run one `refinenet` command in a process of its own.

    Raises InputError with its last line if it fails.
    """
    finished = run(("refinenet", *arguments, "--quiet"))
    if finished.exit_code:
        said = finished.message or "no message"
        raise InputError(f"refinenet {arguments[0]} failed: {said}")
    return finished.whole


def _named(command: str, cost: Cost) -> dict[str, float]:
    return {
        f"{command}_wall_seconds": round(cost.wall_s, 2),
        f"{command}_cpu_seconds": round(cost.cpu_s, 2),
        f"{command}_peak_bytes": cost.peak_bytes,
    }
