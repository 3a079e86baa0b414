"""Streams: several frames under way in an engine, and the latest frame of a live camera."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from strict_gpu import Gpu
from strict_tensorrt import EngineFile, StrictTensorRT
from tiny_models import brightest_channel

from runtime import Segmenter
from runtime.engine.engine import Engine
from runtime.errors import DeployError, DeviceError, InputError
from runtime.segmenter import ENGINE_DEPTH, with_masks

Opener = Callable[..., tuple[Engine, StrictTensorRT]]
Frame = NDArray[np.uint8]


@pytest.fixture
def on_engine(strict_engine: Opener, shared: Path) -> Iterator[Segmenter]:
    """A Segmenter on an engine of one size."""
    api = shared / "reference/tensorrt-api/11.4.0.106.json"
    engine, _ = strict_engine(api, EngineFile((1, 6, 8, 3)))
    with Segmenter(engine) as segmenter:
        yield segmenter


def frames(count: int) -> list[Frame]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (6, 8, 3), np.uint8) for _ in range(count)]


def test_masks_come_in_order_and_are_the_callers_own(on_engine: Segmenter) -> None:
    given = frames(12)
    masks = list(on_engine.stream(given))
    assert len(masks) == 12
    for mask, frame in zip(masks, given, strict=True):
        np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_copies_of_other_frames_are_put_on_the_gpu_before_a_mask_is_waited_for(
    on_engine: Segmenter, strict_gpu: Gpu
) -> None:
    list(on_engine.stream(frames(9)))  # every lane has its graph now
    strict_gpu.calls.clear()
    list(on_engine.stream(frames(5)))
    order = [name for name in strict_gpu.calls if name in ("cudaGraphLaunch", SYNC)]
    launch = "cudaGraphLaunch"
    assert order == [launch] * 3 + [SYNC, launch] * 2 + [SYNC] * 3


SYNC = "cudaStreamSynchronize"


def test_the_source_is_read_no_further_than_there_are_lanes(on_engine: Segmenter) -> None:
    produced = 0

    def source() -> Iterator[Frame]:
        nonlocal produced
        for frame in frames(9):
            produced += 1
            yield frame

    for consumed, _ in enumerate(on_engine.stream(source()), start=1):
        assert produced <= consumed + ENGINE_DEPTH - 1


def test_an_error_of_the_source_comes_after_the_masks_before_it(on_engine: Segmenter) -> None:
    given = frames(4)

    def source() -> Iterator[Frame]:
        yield from given
        raise OSError("the camera was unplugged")

    masks: list[Frame] = []
    with pytest.raises(OSError, match="unplugged"):
        masks.extend(on_engine.stream(source()))
    for mask, frame in zip(masks, given, strict=True):
        np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_a_bad_frame_comes_after_the_masks_before_it(on_engine: Segmenter) -> None:
    given: list[Any] = [*frames(2), np.zeros((2, 2), np.uint8), *frames(1)]
    masks: list[Frame] = []
    with pytest.raises(InputError, match=r"\(2, 2\) uint8"):
        masks.extend(on_engine.stream(given))
    assert len(masks) == 2


def test_a_failing_gpu_ends_the_stream_and_not_the_segmenter(
    on_engine: Segmenter, strict_gpu: Gpu
) -> None:
    masks = on_engine.stream(frames(9))
    next(masks)
    strict_gpu.failing["cudaMemcpyAsync"] = 0
    with pytest.raises(DeviceError, match=r"^cudaMemcpyAsync "):
        list(masks)
    del strict_gpu.failing["cudaMemcpyAsync"]
    frame = frames(1)[0]
    np.testing.assert_array_equal(on_engine(frame), brightest_channel(frame))


def test_a_stream_that_is_left_early_gives_its_lanes_back(
    on_engine: Segmenter, strict_gpu: Gpu
) -> None:
    for _ in range(4):
        with on_engine.stream(frames(9)) as masks:
            next(masks)
    assert len(strict_gpu.streams) - 1 == ENGINE_DEPTH
    list(on_engine.stream(frames(9)))
    assert len(strict_gpu.streams) - 1 == ENGINE_DEPTH


def test_a_single_frame_and_a_second_stream_go_in_between(on_engine: Segmenter) -> None:
    given = frames(6)
    for first, frame, second in zip(
        on_engine.stream(given), given, on_engine.stream(given[::-1]), strict=True
    ):
        np.testing.assert_array_equal(first, brightest_channel(frame))
        np.testing.assert_array_equal(on_engine(frame), first)
        assert second.shape == first.shape


def test_closing_the_segmenter_ends_a_stream_under_way(on_engine: Segmenter) -> None:
    masks = on_engine.stream(frames(9))
    next(masks)
    on_engine.close()
    with pytest.raises(DeployError) as caught:
        next(masks)
    assert caught.type is DeployError
    with pytest.raises(DeployError, match="Segmenter"):
        on_engine.stream(frames(1))


def test_frames_of_another_size_are_resized_there_and_back(on_engine: Segmenter) -> None:
    big = np.kron(frames(1)[0], np.ones((5, 5, 1), np.uint8))
    (mask,) = on_engine.stream([big])
    np.testing.assert_array_equal(mask, on_engine(big))
    np.testing.assert_array_equal(mask, brightest_channel(big))


def test_masks_are_paired_with_their_frames(on_engine: Segmenter) -> None:
    given = frames(7)
    numbered = list(enumerate(given))
    pairs = list(with_masks(on_engine, numbered, itemgetter(1)))
    assert [item for item, _ in pairs] == numbered
    for (_, frame), mask in pairs:
        np.testing.assert_array_equal(mask, brightest_channel(frame))


class Camera:
    """Gives a frame whenever the test says so, as the reading thread asks for it."""

    def __init__(self, given: list[Frame]) -> None:
        self._given = given
        self._asked, self._allowed = threading.Semaphore(0), threading.Semaphore(0)

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._given:
            self._asked.release()
            assert self._allowed.acquire(timeout=10)
            yield frame
        self._asked.release()

    def show(self, count: int) -> None:
        """Give `count` frames, and return when the last one is taken."""
        for _ in range(count):
            assert self._asked.acquire(timeout=10)
            self._allowed.release()
        assert self._asked.acquire(timeout=10)
        self._asked.release()


def test_only_the_latest_frame_counts_in_an_engine(on_engine: Segmenter) -> None:
    check_latest(on_engine)


def test_only_the_latest_frame_counts_in_onnx_runtime(segmenter: Segmenter) -> None:
    check_latest(segmenter)


def check_latest(segmenter: Segmenter) -> None:
    given = frames(8)
    camera = Camera(given)
    with segmenter.stream(camera, latest=True) as masks:
        assert masks.dropped == 0
        camera.show(1)
        np.testing.assert_array_equal(next(masks), brightest_channel(given[0]))
        camera.show(4)
        np.testing.assert_array_equal(next(masks), brightest_channel(given[4]))
        assert masks.dropped == 3
        camera.show(3)
        np.testing.assert_array_equal(next(masks), brightest_channel(given[7]))
        assert masks.dropped == 5
        assert list(masks) == []


def test_a_lost_camera_comes_after_its_last_frame(on_engine: Segmenter) -> None:
    given = frames(1)

    def source() -> Iterator[Frame]:
        yield from given
        raise OSError("the camera was unplugged")

    masks = on_engine.stream(source(), latest=True)
    np.testing.assert_array_equal(next(masks), brightest_channel(given[0]))
    with pytest.raises(OSError, match="unplugged"):
        next(masks)
    masks.close()


def test_a_live_stream_that_is_left_leaves_no_thread(on_engine: Segmenter) -> None:
    before = threading.active_count()
    with on_engine.stream(repeat(frames(1)[0]), latest=True) as masks:
        next(masks)
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_live_stream_that_fails_leaves_no_thread(on_engine: Segmenter) -> None:
    before = threading.active_count()
    with pytest.raises(InputError, match=r"\(2, 2\) uint8"):
        next(on_engine.stream(repeat(np.zeros((2, 2), np.uint8)), latest=True))
    assert threading.active_count() == before
