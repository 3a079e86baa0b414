"""Which engines a test on a GPU runs with.

Each decorator gives the fixture `build` its builder: TensorRT, TensorRT-RTX, or the stand-in
network on real CUDA, all marked `gpu`. A rehearsal is the stand-in on the strict GPU, so that a
wrong name in a test is found on a machine that has no GPU.
"""

from __future__ import annotations

import pytest

GPU = pytest.mark.gpu
TENSORRT = [pytest.param(name, marks=GPU) for name in ("tensorrt", "rtx")]
STAND_IN = pytest.param("stand-in", marks=GPU)

every_builder = pytest.mark.parametrize("build", [*TENSORRT, STAND_IN], indirect=True)
every_builder_rehearsed = pytest.mark.parametrize(
    "build", [*TENSORRT, STAND_IN, "rehearsal"], indirect=True
)
stand_in_only = pytest.mark.parametrize("build", [STAND_IN], indirect=True)
stand_in_rehearsed = pytest.mark.parametrize("build", [STAND_IN, "rehearsal"], indirect=True)
