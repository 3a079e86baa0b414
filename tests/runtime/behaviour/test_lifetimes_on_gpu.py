"""Engines on a GPU that are opened and closed again and again, and frames of other owners."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gpu_builders import every_builder, stand_in_only
from numpy.typing import NDArray
from tiny_models import brightest_channel

from runtime import Segmenter

Frame = NDArray[np.uint8]
Build = Callable[..., Path]

# Nothing else in that process holds the GPU's primary context: each end destroys it.
OPENED_ANEW = """
import sys, numpy as np
from runtime.engine.engine import Engine
batch = np.random.default_rng(0).integers(0, 256, (1, 360, 480, 3), np.uint8)
batch = batch & 252 | np.uint8([2, 1, 0])  # untied
for _ in range(10):
    with Engine.open(sys.argv[1]) as engine:
        for _ in range(4):
            assert (engine(batch) == batch.argmax(3)).all()
"""


@every_builder
def test_ten_times_opened_and_closed_with_a_context_of_its_own(build: Build) -> None:
    command = [sys.executable, "-c", OPENED_ANEW, str(build())]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Exception ignored" not in done.stderr  # of a kernel module that cannot be unloaded


@stand_in_only
@pytest.mark.slow
@pytest.mark.usefixtures("entered")
def test_a_thousand_times_opened_and_closed_leaves_no_memory_behind(
    build: Build, camvid: list[Frame], free_bytes: Callable[[], int]
) -> None:
    path = build()

    def opened(times: int) -> None:
        for _ in range(times):
            with Segmenter.open(path) as segmenter:
                list(segmenter.stream(camvid))

    opened(50)  # what CUDA loads once stays
    free, peak_kib = free_bytes(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    opened(1000)
    assert free - free_bytes() < 16 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib < 64 * 2**10


class Interface:
    """An array that has __cuda_array_interface__ and no __dlpack__."""

    def __init__(self, array: Any) -> None:
        self.__cuda_array_interface__ = array.__cuda_array_interface__


def torch_frames(stand_in: Any, frames: list[Frame], use: Callable[[Any, int], None]) -> None:
    torch: Any = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        sources = [torch.from_numpy(frame).cuda() for frame in frames]
        for index, source in enumerate(sources):
            target = torch.zeros_like(source)
            stand_in.kernels.spin(stream.cuda_stream, 1)
            target.copy_(source)
            use(target, index)


def cupy_frames(stand_in: Any, frames: list[Frame], use: Callable[[Any, int], None]) -> None:
    cupy: Any = pytest.importorskip("cupy", reason="cupy is not installed")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        sources = [cupy.asarray(frame) for frame in frames]
        for index, source in enumerate(sources):
            target = cupy.zeros_like(source)
            stand_in.kernels.spin(stream.ptr, 1)
            cupy.copyto(target, source)
            use(target, index)


def cupy_interfaces(stand_in: Any, frames: list[Frame], use: Callable[[Any, int], None]) -> None:
    # `array` stays referenced by the caller until the mask is there.
    cupy_frames(stand_in, frames, lambda array, index: use(Interface(array), index))


@stand_in_only
@pytest.mark.usefixtures("entered")
@pytest.mark.parametrize("produce", [torch_frames, cupy_frames, cupy_interfaces])
def test_frames_still_being_written_on_a_foreign_stream_are_waited_for(
    build: Build, cuda: ModuleType, stand_in: Any, camvid: list[Frame],
    monkeypatch: pytest.MonkeyPatch, produce: Callable[..., None],
) -> None:  # fmt: skip
    from stand_in.kernels import Control

    with Segmenter.open(build()) as segmenter:
        stand_in.kernels.set(Control(hold_us=20_000))

        def right(array: Any, index: int) -> None:
            np.testing.assert_array_equal(segmenter(array), brightest_channel(camvid[index]))

        def wrong(array: Any, index: int) -> None:
            assert not np.array_equal(segmenter(array), brightest_channel(camvid[index]))

        produce(stand_in, camvid, right)
        with monkeypatch.context() as broken:  # a control: nobody waits for the producer
            broken.setattr(cuda, "wait_for_producer", lambda *_: None)
            produce(stand_in, camvid[:1], wrong)
