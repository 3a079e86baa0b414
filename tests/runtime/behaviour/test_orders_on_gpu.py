"""Orders that only real CUDA can get wrong, made visible with the stand-in network.

Its output is poisoned until the mask is there, and its kernels start late and keep the scratch
memory long. Beside every promise stands a control that breaks it and must give a wrong mask.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from gpu_builders import stand_in_only, stand_in_rehearsed
from in_threads import in_four_threads
from numpy.typing import NDArray
from tiny_models import brightest_channel

from runtime import Segmenter, tensorrt_api
from runtime.engine.engine import Engine
from runtime.engine.loaded_engine import EngineOptions, LoadedEngine
from runtime.errors import DeviceError

pytestmark = pytest.mark.usefixtures("entered")

Frame = NDArray[np.uint8]
Build = Callable[..., Path]

COPYING = EngineOptions(mapped_memory=False)
MAPPED = EngineOptions(mapped_memory=True)


@pytest.fixture
def late() -> Any:
    """The masks are in scratch memory after 1 ms and in the output after 21."""
    from stand_in.kernels import Control

    return Control(delay_us=1_000, hold_us=20_000)


def check(segmenter: Segmenter, frame: Frame) -> None:
    np.testing.assert_array_equal(segmenter(frame), brightest_channel(frame))


@stand_in_rehearsed
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("graph", [None, False])
def test_masks_are_right_however_late_the_kernels_are(
    build: Build, stand_in: Any, late: Any, camvid: list[Frame], mapped: bool, graph: bool | None
) -> None:
    options = EngineOptions(mapped_memory=mapped, cuda_graph=graph)
    with Segmenter.open(build(), options=options) as segmenter:
        stand_in.kernels.set(late)
        for frame in camvid:
            check(segmenter, frame)
        for mask, frame in zip(segmenter.stream(camvid), camvid, strict=True):
            np.testing.assert_array_equal(mask, brightest_channel(frame))


@stand_in_rehearsed
@pytest.mark.parametrize("name", ["copy_to_device", "copy_to_host"])
def test_a_copy_on_another_stream_gives_a_wrong_mask(
    build: Build, cuda: ModuleType, stand_in: Any, late: Any, camvid: list[Frame],
    monkeypatch: pytest.MonkeyPatch, name: str,
) -> None:  # fmt: skip
    copy = getattr(cuda, name)
    with cuda.Stream() as other, Segmenter.open(build(), options=COPYING) as segmenter:

        def misplaced(target: Any, source: Any, size_bytes: int, _: Any) -> None:
            if name == "copy_to_device":  # arrives when the network has read its frame
                stand_in.kernels.spin(other.handle, 1)
            copy(target, source, size_bytes, other)

        stand_in.kernels.set(late)
        check(segmenter, camvid[0])
        with monkeypatch.context() as broken:
            broken.setattr(cuda, name, misplaced)
            wrong = segmenter(camvid[1])
        other.synchronize()
        assert not np.array_equal(wrong, brightest_channel(camvid[1]))
        check(segmenter, camvid[1])


@stand_in_rehearsed
@pytest.mark.parametrize("options", [COPYING, MAPPED])
def test_a_mask_that_is_not_waited_for_is_wrong(
    build: Build, cuda: ModuleType, stand_in: Any, late: Any, camvid: list[Frame],
    monkeypatch: pytest.MonkeyPatch, options: EngineOptions,
) -> None:  # fmt: skip
    with Segmenter.open(build(), options=options) as segmenter:
        stand_in.kernels.set(late)
        check(segmenter, camvid[0])
        with monkeypatch.context() as broken:
            broken.setattr(cuda.Stream, "synchronize", lambda _: None)
            wrong = segmenter(camvid[1])
        assert not np.array_equal(wrong, brightest_channel(camvid[1]))
        check(segmenter, camvid[1])


@stand_in_only
def test_scratch_memory_that_is_taken_before_its_turn_gives_a_wrong_mask(
    build: Build, cuda: ModuleType, stand_in: Any, late: Any, camvid: list[Frame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    batches = [frame[None] for frame in camvid[:2]]
    with Engine.open(build()) as engine:

        def both() -> list[bool]:
            jobs = [engine.submit(batch) for batch in batches]  # in a lane each
            masks = [job.result()[0] for job in jobs]
            return [
                np.array_equal(mask, brightest_channel(batch[0]))
                for mask, batch in zip(masks, batches, strict=True)
            ]

        stand_in.kernels.set(late)
        assert both() == [True, True]
        with monkeypatch.context() as broken:
            broken.setattr(cuda.Stream, "wait", lambda *_: None)
            assert both()[0] is False  # the second frame's masks lay there when it was delivered
        assert both() == [True, True]


@stand_in_only
def test_what_the_kernels_read_from_memory_changes_under_a_captured_graph(
    build: Build, stand_in: Any, late: Any, camvid: list[Frame]
) -> None:
    with Segmenter.open(build()) as segmenter:
        for frame in camvid[:3]:  # run, captured, launched
            check(segmenter, frame)
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            check(segmenter, camvid[3])
            seconds.append(time.perf_counter() - started)
            stand_in.kernels.set(late)
        assert seconds[0] < 0.021 <= seconds[1]


@stand_in_rehearsed
def test_an_address_bound_after_a_capture_is_not_in_the_graph(
    build: Build, cuda: ModuleType, camvid: list[Frame]
) -> None:
    if not cuda.HAS_GRAPHS:
        pytest.skip(f"{cuda.TITLE} has no CUDA graphs")
    frame = np.ascontiguousarray(camvid[0][:64, :64])
    path = build((1, 64, 64, 3))
    trt = tensorrt_api.load("tensorrt")
    loaded = LoadedEngine(path, trt, cuda.current_device(), EngineOptions())
    with ExitStack() as resources:
        stream = resources.enter_context(cuda.Stream())
        host = resources.enter_context(cuda.PinnedBuffer(frame.nbytes))
        sizes = (loaded.scratch_bytes, frame.nbytes, 64 * 64, 64 * 64)
        scratch, source, first, second = (
            resources.enter_context(cuda.DeviceBuffer(size)) for size in sizes
        )

        def content(buffer: Any) -> Frame:
            cuda.copy_to_host(host, buffer, 64 * 64, stream)
            stream.synchronize()
            mask: Frame = host.array[: 64 * 64].reshape(64, 64).copy()
            return mask

        def clear(buffer: Any) -> None:
            host.array[:] = 0x55
            cuda.copy_to_device(buffer, host, 64 * 64, stream)
            stream.synchronize()

        host.array[:] = frame.ravel()
        cuda.copy_to_device(source, host, frame.nbytes, stream)
        stream.synchronize()
        network = loaded.new_context()
        network.set_device_memory(scratch.address, scratch.size_bytes)
        assert network.set_input_shape("frame", (1, 64, 64, 3))
        assert network.set_tensor_address("frame", source.address)
        assert network.set_tensor_address("mask", first.address)

        def execute(network: Any = network) -> None:
            assert network.execute_async_v3(stream.handle)

        execute()
        with cuda.Graph(stream, execute) as graph:
            clear(first)
            clear(second)
            assert network.set_tensor_address("mask", second.address)
            graph.launch(stream)
            assert (content(second) == 0x55).all()
            np.testing.assert_array_equal(content(first), brightest_channel(frame))
        with cuda.Graph(stream, execute) as anew:
            anew.launch(stream)
            np.testing.assert_array_equal(content(second), brightest_channel(frame))
    del network, execute  # TensorRT wants its contexts gone before the engine
    loaded.close()


@stand_in_rehearsed
def test_shapes_and_profiles_change_under_graphs(
    build: Build, camvid: list[Frame], street: Frame
) -> None:
    low = (1, 64, 64, 3)
    narrow, wide = (low, (2, 360, 480, 3)), (low, (1, 512, 1280, 3))
    with Segmenter.open(build((None, None, None, 3), narrow, further=(wide,))) as segmenter:
        for _ in range(2):
            for frame in (camvid[0], street, camvid[1][:200, :320], street[:360, :480]):
                for _ in range(4):  # run, captured, launched twice
                    check(segmenter, np.ascontiguousarray(frame))
        masks = segmenter.segment_batch(camvid)
        for mask, frame in zip(masks, camvid, strict=True):
            np.testing.assert_array_equal(mask, brightest_channel(frame))
        assert segmenter.notes == ()


@stand_in_rehearsed
def test_four_threads_share_a_gpu_whose_memory_is_busy(
    build: Build, stand_in: Any, camvid: list[Frame]
) -> None:
    from stand_in.kernels import Control

    wrong: list[object] = []
    with Segmenter.open(build(scratch_bytes=2**26)) as segmenter:
        stand_in.kernels.set(Control(stream_bytes=2**28))

        def work(thread: int) -> None:
            for step in range(20):
                frame = camvid[(thread + step) % len(camvid)]
                try:
                    check(segmenter, frame)
                except Exception as error:
                    wrong.append(error)

        in_four_threads(work)
    assert wrong == []


@stand_in_rehearsed
def test_an_engine_that_finds_no_room_leaves_room_for_another(
    build: Build, camvid: list[Frame]
) -> None:
    path = build(scratch_bytes=2**42)
    for _ in range(3):
        with pytest.raises(DeviceError, match=r"was asked for 4194304\.0 MiB and found no room"):
            Segmenter.open(path)
    with Segmenter.open(build()) as segmenter:
        check(segmenter, camvid[0])
