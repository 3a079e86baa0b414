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
from tiny_models import brightest_channel, write_model

from runtime import Segmenter
from runtime.engine.engine import Engine
from runtime.errors import DeployError, DeviceError, InputError
from runtime.mask_stream import with_masks
from runtime.segmenter import ENGINE_DEPTH

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
    with pytest.raises(InputError, match="a frame is"):
        masks.extend(on_engine.stream(given))
    assert len(masks) == 2


def test_a_failing_gpu_ends_the_stream_and_not_the_segmenter(
    on_engine: Segmenter, strict_gpu: Gpu
) -> None:
    masks = on_engine.stream(frames(9))
    next(masks)
    strict_gpu.failing["cudaMemcpyAsync"] = 0
    with pytest.raises(DeviceError, match="cudaMemcpyAsync failed"):
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
    with pytest.raises(DeployError, match="was closed"):
        next(masks)
    with pytest.raises(DeployError, match="was closed"):
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
    with pytest.raises(InputError, match="a frame is"):
        next(on_engine.stream(repeat(np.zeros((2, 2), np.uint8)), latest=True))
    assert threading.active_count() == before


@pytest.fixture
def of_four(strict_engine: Opener, shared: Path) -> Iterator[Segmenter]:
    """A Segmenter on an engine that takes four frames in every call."""
    api = shared / "reference/tensorrt-api/11.4.0.106.json"
    engine, _ = strict_engine(api, EngineFile((4, 6, 8, 3)))
    with Segmenter(engine) as segmenter:
        yield segmenter


@pytest.fixture
def onnx_of_four(tmp_path: Path) -> Iterator[Segmenter]:
    with Segmenter.open(write_model(tmp_path / "four.onnx", (4, 6, 8, 3))) as segmenter:
        yield segmenter


def calls_of(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each call of the session is given, as they come."""
    given: list[int] = []
    session: Any = segmenter._session
    name = "submit" if isinstance(session, Engine) else "__call__"
    original = getattr(type(session), name)

    def counting(self: Any, batch: Frame, *rest: Any) -> Any:
        given.append(len(np.unique(batch.reshape(len(batch), -1), axis=0)))
        return original(self, batch, *rest)

    monkeypatch.setattr(type(session), name, counting)
    return given


@pytest.mark.parametrize(("count", "calls"), [(8, [4, 4]), (10, [4, 4, 2]), (1, [1]), (0, [])])
def test_a_file_that_takes_four_frames_is_given_four(
    of_four: Segmenter,
    onnx_of_four: Segmenter,
    count: int,
    calls: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for segmenter in (of_four, onnx_of_four):
        given = calls_of(segmenter, monkeypatch)
        sent = frames(count)
        masks = list(segmenter.stream(sent))
        assert given == calls
        assert len(masks) == count
        for mask, frame in zip(masks, sent, strict=True):
            np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_masks_before_an_error_come_out_of_a_batch_too(
    of_four: Segmenter, onnx_of_four: Segmenter
) -> None:
    for segmenter in (of_four, onnx_of_four):
        sent = frames(6)
        bad: Any = [*sent, np.zeros((6, 8), np.uint8)]
        masks = segmenter.stream(bad)
        for frame in sent:
            np.testing.assert_array_equal(next(masks), brightest_channel(frame))
        with pytest.raises(InputError, match=r"\(6, 8\)"):
            next(masks)


def test_frames_of_other_sizes_share_a_batch_where_they_are_resized(
    onnx_of_four: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = calls_of(onnx_of_four, monkeypatch)
    sent = [np.zeros((6 * side, 8 * side, 3), np.uint8) + np.uint8(side) for side in (1, 2, 3, 4)]
    masks = list(onnx_of_four.stream(sent))
    assert given == [4]
    assert [mask.shape for mask in masks] == [frame.shape[:2] for frame in sent]


def test_a_batch_of_any_size_holds_frames_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path / "two.onnx", (2, None, None, 3))
    random = np.random.default_rng(1)
    sizes = ((4, 4), (4, 4), (5, 4), (4, 4), (4, 4))
    sent = [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    with Segmenter.open(path) as segmenter:
        given = calls_of(segmenter, monkeypatch)
        masks = list(segmenter.stream(sent))
    assert given == [2, 1, 2]
    for mask, frame in zip(masks, sent, strict=True):
        np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_the_latest_frame_waits_for_no_batch(onnx_of_four: Segmenter) -> None:
    sent = frames(1)
    asked = threading.Event()

    def camera() -> Iterator[Frame]:
        yield sent[0]
        assert asked.wait(10), "the mask of the first frame waited for another frame"

    with onnx_of_four.stream(camera(), latest=True) as masks:
        np.testing.assert_array_equal(next(masks), brightest_channel(sent[0]))
        asked.set()


def test_a_closed_stream_of_batches_is_over(onnx_of_four: Segmenter) -> None:
    masks = onnx_of_four.stream(repeat(frames(1)[0]))
    next(masks)
    masks.close()
    assert list(masks) == []
