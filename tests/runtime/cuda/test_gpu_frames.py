"""Frames on the GPU: what the two standards say is understood, and what does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_arrays import ArrayInterface, DLPackArray, noise, on_gpu
from strict_gpu import LEGACY, Gpu, Operation
from strict_tensorrt import EngineFile, StrictTensorRT
from tiny_models import brightest_channel

from runtime import Segmenter
from runtime.cuda.gpu_frames import gpu_frames, is_on_gpu
from runtime.engine.engine import Engine
from runtime.errors import InputError

Opener = Callable[..., tuple[Engine, StrictTensorRT]]

HEIGHT, WIDTH = 6, 8
FIXED = EngineFile((1, HEIGHT, WIDTH, 3))


@pytest.fixture
def segmenter(strict_engine: Opener, strict_gpu: Gpu, shared: Path) -> Any:
    engine, _ = strict_engine(shared / "reference/tensorrt-api/11.4.0.106.json", FIXED)
    with Segmenter(engine) as opened:
        yield opened
    for block in strict_gpu.blocks.values():
        block.freed = True  # the frames' own memory, which the test made


def test_an_array_interface_is_segmented_where_it_lies(
    segmenter: Segmenter, strict_gpu: Gpu
) -> None:
    frame = noise(HEIGHT, WIDTH, 3)
    array = ArrayInterface(on_gpu(strict_gpu, frame), frame.shape)
    for _ in range(3):  # plain, captured, launched
        np.testing.assert_array_equal(segmenter(array), brightest_channel(frame))
    assert strict_gpu.calls.count("cudaMemcpyAsync") == 3  # the masks alone


def test_dlpack_is_segmented_where_it_lies(segmenter: Segmenter, strict_gpu: Gpu) -> None:
    frame = noise(HEIGHT, WIDTH, 3)
    array = DLPackArray(frame, on_gpu(strict_gpu, frame))
    np.testing.assert_array_equal(segmenter(array), brightest_channel(frame))
    out = np.empty((HEIGHT, WIDTH), np.uint8)
    assert segmenter(array, out=out) is out
    np.testing.assert_array_equal(out, brightest_channel(frame))
    assert array.streams == [1, 1]


def test_padded_rows_are_understood(segmenter: Segmenter, strict_gpu: Gpu) -> None:
    padded = noise(HEIGHT, WIDTH + 4, 3)
    pitch = (WIDTH + 4) * 3
    array = ArrayInterface(on_gpu(strict_gpu, padded), (HEIGHT, WIDTH, 3), strides=(pitch, 3, 1))
    np.testing.assert_array_equal(segmenter(array), brightest_channel(padded[:, :WIDTH]))


@pytest.mark.parametrize("entries", [{"stream": 1}, {"version": 2}])
def test_the_producer_is_waited_for(
    segmenter: Segmenter, strict_gpu: Gpu, entries: dict[str, int]
) -> None:
    frame = noise(HEIGHT, WIDTH, 3)
    address = on_gpu(strict_gpu, np.zeros_like(frame))

    def produce() -> None:
        strict_gpu.blocks[address].array[:] = frame.ravel()

    strict_gpu.queue(LEGACY, Operation(produce))
    mask = segmenter(ArrayInterface(address, frame.shape, **entries))
    np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_a_stream_mixes_both_kinds_of_frames(segmenter: Segmenter, strict_gpu: Gpu) -> None:
    frames = [np.roll(noise(HEIGHT, WIDTH, 3), step) for step in range(6)]
    mixed = [
        ArrayInterface(on_gpu(strict_gpu, frame), frame.shape) if step % 2 else frame
        for step, frame in enumerate(frames)
    ]
    for mask, frame in zip(segmenter.stream(mixed), frames, strict=True):
        np.testing.assert_array_equal(mask, brightest_channel(frame))
    for mask, frame in zip(segmenter.segment_batch(mixed), frames, strict=True):
        np.testing.assert_array_equal(mask, brightest_channel(frame))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (ArrayInterface(1, (6, 8)), r"of shape \(6, 8\)"),
        (ArrayInterface(1, (6, 8, 4)), r"of shape \(6, 8, 4\)"),
        (ArrayInterface(1, (0, 8, 3)), "of shape"),
        (ArrayInterface(1, (6, 8, 3), typestr="<f4"), "of type <f4"),
        (ArrayInterface(1, (6, 8, 3), strides=(24, -3, 1)), "with strides"),
        (ArrayInterface(1, (6, 8, 3), strides=(1, 6, 48)), "with strides"),
        (ArrayInterface(1, (6, 8, 3), strides=(12, 3, 1)), "with strides"),
        (ArrayInterface(1, (2, 6, 8, 3), strides=(200, 24, 3, 1)), "with strides"),
        (DLPackArray(np.zeros((6, 8, 3), np.float32), 1), "of 32-bit elements"),
        (DLPackArray(np.zeros((6, 8, 3), np.uint8), 1, device=1), "in the host's memory"),
    ],
)
def test_what_does_not_fit_is_refused(array: Any, message: str) -> None:
    assert is_on_gpu(array)
    with pytest.raises(InputError, match=message):
        gpu_frames(array)


def test_another_size_cannot_be_resized_on_the_host(segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match=r"\(4, 4\).*\(6, 8\)"):
        segmenter(ArrayInterface(1, (4, 4, 3)))
    with pytest.raises(InputError, match=r"^2 .* 1 .*1;"):
        segmenter(ArrayInterface(1, (2, 6, 8, 3)))


def test_a_frame_on_another_gpu_is_refused(segmenter: Segmenter) -> None:
    array = DLPackArray(noise(HEIGHT, WIDTH, 3), 1, index=1)
    with pytest.raises(InputError, match=r"GPU 1\b.*GPU 0"):
        segmenter(array)
    with pytest.raises(InputError, match="on GPU 1"):
        list(segmenter.stream([array]))
