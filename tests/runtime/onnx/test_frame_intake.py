"""ONNX Runtime on frames that lie on the GPU: bound where they are, once they are written."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_arrays import ArrayInterface, DLPackArray, noise, on_gpu
from in_threads import in_four_threads
from numpy.typing import NDArray
from strict_gpu import LEGACY, Gpu, Operation
from strict_onnx import StrictOnnx
from tiny_models import FREE, brightest_channel, write_model

from runtime import Segmenter
from runtime.card import read_card
from runtime.cuda import gpu
from runtime.cuda.gpu_frames import gpu_frames
from runtime.errors import DeployError, DeviceError, InputError, MissingPackage
from runtime.onnx.providers import create_session
from runtime.onnx.session import OnnxSession

Frame = NDArray[np.uint8]
Opener = Callable[..., tuple[OnnxSession, StrictOnnx]]
Place = Callable[[Frame], int]

HEIGHT, WIDTH = 6, 8
BYTES = HEIGHT * WIDTH * 3
OWN = 0x5EED  # a producer's own stream


@pytest.fixture
def open_onnx(strict_gpu: Gpu, tmp_path: Path) -> Iterator[Opener]:
    """Opens a tiny file on what stands for ONNX Runtime's CUDA provider."""
    sessions: list[OnnxSession] = []

    def opened(shape: Any = FREE, kind: str = "mask") -> tuple[OnnxSession, StrictOnnx]:
        path = write_model(tmp_path / "toy.fp32.onnx", shape, output_kind=kind)
        strict = StrictOnnx(create_session(path, "cpu", 1), strict_gpu)
        sessions.append(OnnxSession(path, read_card(path, None), "cuda", strict))
        return sessions[-1], strict

    yield opened
    for session in sessions:
        session.close()


@pytest.fixture
def placed(strict_gpu: Gpu) -> Iterator[Place]:
    """Puts an array into the strict GPU's memory, which is freed at the end: its address."""
    addresses: list[int] = []

    def place(content: Frame) -> int:
        addresses.append(on_gpu(strict_gpu, content))
        return addresses[-1]

    yield place
    for address in addresses:
        strict_gpu.free(address, "device")


@pytest.mark.parametrize("shape", [FREE, (1, HEIGHT, WIDTH, 3)])
def test_a_frame_that_is_ready_is_bound_where_it_lies(
    open_onnx: Opener, placed: Place, strict_gpu: Gpu, shape: Any
) -> None:
    session, strict = open_onnx(shape)
    frame = noise(HEIGHT, WIDTH, 3)
    address = placed(frame)
    out = np.empty((HEIGHT, WIDTH), np.uint8)
    with Segmenter(session) as segmenter:
        np.testing.assert_array_equal(
            segmenter(ArrayInterface(address, frame.shape)), brightest_channel(frame)
        )
        assert segmenter(ArrayInterface(address, frame.shape), out=out) is out
    np.testing.assert_array_equal(out, brightest_channel(frame))
    assert strict.bound == [address, address]
    assert strict_gpu.calls == []  # nothing to wait for, nothing to copy


def test_dlpack_is_bound_where_it_lies(open_onnx: Opener, placed: Place, strict_gpu: Gpu) -> None:
    session, strict = open_onnx()
    frame = noise(HEIGHT, WIDTH, 3)
    array = DLPackArray(frame, placed(frame))
    with Segmenter(session) as segmenter:
        np.testing.assert_array_equal(segmenter(array), brightest_channel(frame))
    assert strict.bound == [array.address]
    assert array.streams == [LEGACY]
    assert not any(call.startswith("cudaMemcpy") for call in strict_gpu.calls)
    assert "cudaGetDevice" not in strict_gpu.calls  # ONNX Runtime's GPU, not the thread's


@pytest.mark.parametrize("entries", [{"stream": LEGACY}, {"version": 2}, {"stream": OWN}])
def test_the_producer_is_waited_for(
    open_onnx: Opener, placed: Place, strict_gpu: Gpu, entries: dict[str, int]
) -> None:
    session, strict = open_onnx()
    frame = noise(HEIGHT, WIDTH, 3)
    address = placed(np.zeros_like(frame))

    def produce() -> None:
        strict_gpu.blocks[address].array[:] = frame.ravel()

    strict_gpu.streams[OWN] = deque()
    strict_gpu.queue(entries.get("stream", LEGACY), Operation(produce))
    with Segmenter(session) as segmenter:
        mask = segmenter(ArrayInterface(address, frame.shape, **entries))
    np.testing.assert_array_equal(mask, brightest_channel(frame))
    assert strict.bound == [address]
    del strict_gpu.streams[OWN]


def test_the_stand_in_sees_a_producer_that_nobody_waits_for(
    open_onnx: Opener, placed: Place, strict_gpu: Gpu
) -> None:
    session, _ = open_onnx()
    frame = noise(HEIGHT, WIDTH, 3)
    address = placed(np.zeros_like(frame))

    def produce() -> None:
        strict_gpu.blocks[address].array[:] = frame.ravel()

    strict_gpu.queue(LEGACY, Operation(produce))
    mask = session(gpu_frames(ArrayInterface(address, frame.shape)))[0]
    assert not mask.any()  # of the zeros that were there before
    strict_gpu.finish(LEGACY)


def test_padded_rows_are_copied_on_the_gpu(
    open_onnx: Opener, placed: Place, strict_gpu: Gpu
) -> None:
    session, strict = open_onnx()
    with Segmenter(session) as segmenter:
        for height in (2, HEIGHT, 4):  # the copy's memory grows, and then serves the smaller one
            padded = noise(height, WIDTH + 4, 3)
            pitch = (WIDTH + 4) * 3
            address = placed(padded)
            array = ArrayInterface(address, (height, WIDTH, 3), strides=(pitch, 3, 1))
            np.testing.assert_array_equal(segmenter(array), brightest_channel(padded[:, :WIDTH]))
            assert strict.bound[-1] != address
    assert strict_gpu.calls.count("cudaMalloc") == 2
    assert "cudaMemcpyAsync" not in strict_gpu.calls  # to or from the host


def test_a_frame_inside_of_a_batch_is_copied_to_an_address_that_tensorrt_takes(
    open_onnx: Opener, placed: Place
) -> None:
    session, strict = open_onnx()
    batch = noise(2, HEIGHT, WIDTH, 3)
    address = placed(batch) + BYTES
    with Segmenter(session) as segmenter:
        mask = segmenter(ArrayInterface(address, batch.shape[1:]))
    np.testing.assert_array_equal(mask, brightest_channel(batch[1]))
    assert strict.bound != [address]


def test_a_session_takes_a_batch_and_gives_logits(open_onnx: Opener, placed: Place) -> None:
    session, strict = open_onnx(kind="logits")
    batch = noise(2, HEIGHT, WIDTH, 3)
    frames = gpu_frames(ArrayInterface(placed(batch), batch.shape))
    out = np.empty((2, 3, HEIGHT, WIDTH), np.float32)
    expected = batch.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(session(frames), expected)
    assert session(frames, out) is out
    np.testing.assert_array_equal(out, expected)
    assert strict.bound == [frames.address] * 2


def test_a_batch_gives_its_masks_also_into_a_view_with_strides(
    open_onnx: Opener, placed: Place
) -> None:
    session, _ = open_onnx()
    batch = noise(2, HEIGHT, WIDTH, 3)
    frames = gpu_frames(ArrayInterface(placed(batch), batch.shape))
    wide = np.zeros((2, HEIGHT, WIDTH, 2), np.uint8)
    np.testing.assert_array_equal(session(frames), batch.argmax(3))
    session(frames, out=wide[..., 0])
    np.testing.assert_array_equal(wide[..., 0], batch.argmax(3))
    with pytest.raises(InputError, match=r"out=.*\(1, 6, 8\)"):
        session(frames, out=np.empty((1, HEIGHT, WIDTH), np.uint8))


def test_a_stream_mixes_both_kinds_of_frames(open_onnx: Opener, placed: Place) -> None:
    session, _ = open_onnx()
    frames = [np.roll(noise(HEIGHT, WIDTH, 3), step) for step in range(6)]
    mixed = [
        ArrayInterface(placed(frame), frame.shape, stream=LEGACY) if step % 2 else frame
        for step, frame in enumerate(frames)
    ]
    with Segmenter(session) as segmenter:
        for mask, frame in zip(segmenter.stream(mixed), frames, strict=True):
            np.testing.assert_array_equal(mask, brightest_channel(frame))
        for mask, frame in zip(segmenter.segment_batch(mixed), frames, strict=True):
            np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_a_stream_waits_in_the_thread_that_gives_the_frame(
    open_onnx: Opener, placed: Place
) -> None:
    session, _ = open_onnx()
    frame = noise(HEIGHT, WIDTH, 3)
    array = DLPackArray(frame, placed(frame))
    with Segmenter(session) as segmenter:
        assert len(list(segmenter.stream([array] * 3))) == 3
    assert array.threads == [threading.get_ident()] * 3


def test_the_latest_frames_are_waited_for_in_the_thread_that_reads_them(
    open_onnx: Opener, placed: Place
) -> None:
    session, _ = open_onnx()
    frame = noise(HEIGHT, WIDTH, 3)
    array = DLPackArray(frame, placed(frame))
    readers: list[int] = []

    def camera() -> Iterator[DLPackArray]:
        for _ in range(3):
            readers.append(threading.get_ident())
            yield array

    with Segmenter(session) as segmenter, segmenter.stream(camera(), latest=True) as masks:
        assert list(masks)
    assert array.threads == readers
    assert threading.get_ident() not in readers


def test_what_does_not_fit_comes_after_the_masks_before_it(
    open_onnx: Opener, placed: Place
) -> None:
    session, _ = open_onnx((1, HEIGHT, WIDTH, 3))
    frame = noise(HEIGHT, WIDTH, 3)
    good = ArrayInterface(placed(frame), frame.shape)
    masks: list[Frame] = []
    with Segmenter(session) as segmenter:
        with pytest.raises(InputError, match=r"\(4, 4\).*\(6, 8\)"):
            masks.extend(segmenter.stream([good, good, ArrayInterface(256, (4, 4, 3)), good]))
        assert len(masks) == 2
        with pytest.raises(InputError, match=r"^2 .* 1 .*1;"):
            segmenter(ArrayInterface(256, (2, HEIGHT, WIDTH, 3)))
        with pytest.raises(InputError, match=r"GPU 1\b.*GPU 0"):
            segmenter(DLPackArray(frame, 256, index=1))


def test_a_session_checks_the_shape_too(open_onnx: Opener) -> None:
    session, strict = open_onnx((1, HEIGHT, WIDTH, 3))
    with pytest.raises(InputError, match=r"\(1, 4, 4, 3\); toy\.fp32\.onnx .*\(1, 6, 8, 3\)"):
        session(gpu_frames(ArrayInterface(256, (4, 4, 3))))
    assert strict.bound == []


def test_several_threads_share_one_segmenter(open_onnx: Opener, placed: Place) -> None:
    session, _ = open_onnx()
    pitch = (WIDTH + 4) * 3
    padded = [np.roll(noise(HEIGHT, WIDTH + 4, 3), step) for step in range(4)]
    arrays = [
        ArrayInterface(placed(frame), (HEIGHT, WIDTH, 3), strides=(pitch, 3, 1), stream=LEGACY)
        for frame in padded
    ]
    wrong: list[object] = []
    with Segmenter(session) as segmenter:

        def work(index: int) -> None:
            expected = brightest_channel(padded[index][:, :WIDTH])
            try:
                masks = [segmenter(arrays[index]), *segmenter.stream([arrays[index]] * 4)]
            except BaseException as error:
                wrong.append(error)
            else:
                wrong.extend(mask for mask in masks if not np.array_equal(mask, expected))

        in_four_threads(work)
    assert wrong == []


def test_closing_frees_what_it_used_and_says_so(
    open_onnx: Opener, placed: Place, strict_gpu: Gpu
) -> None:
    session, _ = open_onnx()
    frame = noise(HEIGHT, WIDTH, 3)
    array = ArrayInterface(placed(frame), frame.shape, stream=LEGACY)
    frames = gpu_frames(array)
    segmenter = Segmenter(session)
    segmenter(array)
    assert strict_gpu.alive()["streams"] == 1
    segmenter.close()
    segmenter.close()
    assert strict_gpu.alive() | {"blocks": 0} == dict.fromkeys(strict_gpu.alive(), 0)
    with pytest.raises(DeployError, match=r"toy\.fp32\.onnx"):
        segmenter(array)
    with pytest.raises(DeployError, match=r"toy\.fp32\.onnx"):
        session(frames)


@pytest.mark.parametrize("call", ["cudaStreamCreateWithFlags", "cudaStreamSynchronize"])
def test_a_failure_of_cuda_is_named_and_leaves_nothing_behind(
    open_onnx: Opener, placed: Place, strict_gpu: Gpu, call: str
) -> None:
    session, _ = open_onnx()
    frame = noise(HEIGHT, WIDTH, 3)
    array = ArrayInterface(placed(frame), frame.shape, stream=LEGACY)
    strict_gpu.failing[call] = 0
    with Segmenter(session) as segmenter:
        with pytest.raises(DeviceError, match=f"^{call} "):
            segmenter(array)
        strict_gpu.failing.clear()
        np.testing.assert_array_equal(segmenter(array), brightest_channel(frame))


def test_without_cuda_bindings_only_frames_that_are_ready_are_taken(
    open_onnx: Opener, placed: Place, strict_gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = open_onnx()
    frame = noise(HEIGHT, WIDTH, 3)
    address = placed(frame)
    monkeypatch.setattr(gpu, "find_spec", lambda _: None)
    with Segmenter(session) as segmenter:
        ready = ArrayInterface(address, frame.shape)
        np.testing.assert_array_equal(segmenter(ready), brightest_channel(frame))
        with pytest.raises(MissingPackage, match="cuda13"):
            segmenter(ArrayInterface(address, frame.shape, stream=LEGACY))
    assert strict_gpu.calls == []


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH, 3), (4, 4, 3), (2, HEIGHT, WIDTH, 3)])
def test_the_cpu_provider_takes_no_frame_on_the_gpu(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write_model(tmp_path / "toy.fp32.onnx", (1, HEIGHT, WIDTH, 3))
    array = ArrayInterface(256, shape, stream=LEGACY)
    with Segmenter.open(path) as segmenter:
        for use in (segmenter, lambda one: list(segmenter.stream([one]))):
            with pytest.raises(
                InputError, match=r"toy.fp32.onnx on the CPU; give a numpy"
            ) as caught:
                use(array)
            assert "\n" not in str(caught.value)


def test_the_real_io_binding_knows_what_it_is_told(model: Path) -> None:
    """Names and types are right: it refuses the GPU itself, for a session that has none."""
    frame = noise(HEIGHT, WIDTH, 3)
    session = OnnxSession(model, read_card(model, None), "cuda", create_session(model, "cpu", 1))
    with pytest.raises(DeviceError, match=r"no data transfer .* DeviceId:0") as caught:
        session(gpu_frames(ArrayInterface(256, frame.shape)))
    assert "\n" not in str(caught.value)
