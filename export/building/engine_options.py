"""What can be asked of an engine build."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Shape = tuple[int, int, int]  # (batch, height, width)

HARDWARE = ("none", "ampere_plus", "same_compute_capability")
WEIGHTS = ("embedded", "refittable", "stripped")


@dataclass(frozen=True)
class Profile:
    """The shapes that a dynamic engine takes, and the one it is tuned for, each (N, H, W)."""

    smallest: Shape = (1, 64, 64)
    tuned: Shape = (1, 480, 640)
    largest: Shape = (1, 1080, 1920)

    def of_multiples(self, multiple: int) -> Profile:
        """With sides rounded up to what frames are resized to, where a file takes multiples."""

        def rounded(shape: Shape) -> Shape:
            batch, height, width = shape
            return batch, -(-height // multiple) * multiple, -(-width // multiple) * multiple

        return Profile(rounded(self.smallest), rounded(self.tuned), rounded(self.largest))


DEFAULT_PROFILE = Profile()


@dataclass(frozen=True)
class EngineOptions:
    """runtime: rtx or tensorrt; None for tensorrt where it and a GPU are, else rtx.
    targets: the GPUs to build for, such as sm_86, or current alone (rtx only); none for RTX's
    default, one engine for all from sm_80 on.
    optimization_level: 0 to 5; TensorRT's default is 3, 5 for releases.
    profile: for ONNX files with free dimensions, DEFAULT_PROFILE if it is None; others carry their
    shape and take none.
    further_profiles: narrow ones beside it, each tuned for shapes of its own.
    version_compatible: let later TensorRT releases run the engine too (tensorrt only).
    hardware: the GPUs besides the one it is built on that may run it (tensorrt only): none,
    ampere_plus, or same_compute_capability.
    weights: embedded; refittable, so that others of the same shapes can take their place; or
    stripped, left out of the file until `refit` fills them in on the target.
    tf32: let FP32 convolutions round their inputs to TF32.
    workspace_mb: at most so many MiB of scratch memory inside a layer; TensorRT's default is all
    of the GPU's, which a Jetson shares with its CPU. Kernels that need more are passed over.
    timing_cache: a folder to keep measured kernel times in (tensorrt only)."""

    runtime: str | None = None
    targets: tuple[str, ...] = ()
    optimization_level: int = 3
    profile: Profile | None = None
    further_profiles: tuple[Profile, ...] = ()
    version_compatible: bool = False
    hardware: str = "none"
    weights: str = "embedded"
    tf32: bool = False
    workspace_mb: int | None = None
    timing_cache: Path | None = None
    quiet: bool = False
