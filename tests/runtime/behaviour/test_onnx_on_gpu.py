"""ONNX Runtime's providers on a real GPU, with frames that lie there: what the strict GPU promises.

`make gpu` runs these; they need an NVIDIA GPU, and PyTorch with CUDA or CuPy to make the frames.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import brightest_channel, untied, write_model

from runtime import Segmenter
from runtime.errors import DeviceError, InputError
from runtime.onnx.providers import compiled_providers
from runtime.onnx.session import OnnxSession
from runtime.tensorrt_api import gpu_present

pytestmark = pytest.mark.gpu

Frame = NDArray[np.uint8]
ToGpu = Callable[[Frame], Any]

SHAPE = (1, 360, 480, 3)
LATE_CYCLES = 200_000_000  # of the GPU's clock: about a tenth of a second


class Interface:
    """An array that has __cuda_array_interface__ and no __dlpack__."""

    def __init__(self, array: Any) -> None:
        self._array = array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        interface: dict[str, Any] = self._array.__cuda_array_interface__
        return interface


@pytest.fixture(params=["cuda", "tensorrt", "rtx"])
def segmenter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Segmenter]:
    """On each provider that this machine has."""
    if not gpu_present():
        pytest.skip("no GPU")
    if request.param not in compiled_providers():
        pytest.skip(f"this onnxruntime has no {request.param} provider")
    path = write_model(tmp_path / "toy.fp32.onnx", SHAPE)
    try:
        opened = Segmenter.open(path, provider=request.param)
    except DeviceError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


@pytest.fixture(params=["torch", "cupy"])
def to_gpu(request: pytest.FixtureRequest) -> ToGpu:
    """Copies a frame to the GPU, with each library that is installed."""
    library: Any = pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    if request.param == "cupy":
        to_cupy: ToGpu = library.asarray
        return to_cupy
    if not library.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    return lambda frame: library.from_numpy(frame).cuda()


@pytest.fixture
def camvid(camvid: list[Frame]) -> list[Frame]:
    return [untied(frame) for frame in camvid]


@pytest.fixture
def torch() -> Any:
    module: Any = pytest.importorskip("torch", reason="torch is not installed")
    if not module.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    return module


def test_frames_on_the_gpu_give_the_masks_of_frames_on_the_host(
    segmenter: Segmenter, to_gpu: ToGpu, camvid: list[Frame]
) -> None:
    out = np.empty(SHAPE[1:3], np.uint8)
    for frame in camvid:
        on_gpu = to_gpu(frame)
        np.testing.assert_array_equal(segmenter(frame), brightest_channel(frame))
        np.testing.assert_array_equal(segmenter(on_gpu), brightest_channel(frame))
        assert segmenter(Interface(on_gpu), out=out) is out
        np.testing.assert_array_equal(out, brightest_channel(frame))


def test_padded_rows_and_frames_inside_of_a_batch_are_copied_on_the_gpu(
    segmenter: Segmenter, to_gpu: ToGpu, camvid: list[Frame]
) -> None:
    wide = to_gpu(np.pad(camvid[0], ((0, 0), (0, 40), (0, 0))))
    np.testing.assert_array_equal(segmenter(wide[:, :480]), brightest_channel(camvid[0]))
    lines = to_gpu(np.concatenate([camvid[0][-1:], camvid[1]]))
    assert (480 * 3) % 256  # the second row is at no address that TensorRT takes
    np.testing.assert_array_equal(segmenter(lines[1:]), brightest_channel(camvid[1]))


def late_frames(torch: Any, frames: list[Frame]) -> Iterator[Any]:
    """Each is given away while the GPU has yet to write it, on a stream that is not the default."""
    with torch.cuda.stream(torch.cuda.Stream()):
        for frame in frames:
            pinned = torch.from_numpy(frame).pin_memory()
            late = torch.zeros(frame.shape, dtype=torch.uint8, device="cuda")
            torch.cuda._sleep(LATE_CYCLES)
            late.copy_(pinned, non_blocking=True)
            yield late


def test_frames_that_are_still_being_written_are_waited_for(
    segmenter: Segmenter, torch: Any, camvid: list[Frame]
) -> None:
    for late, frame in zip(late_frames(torch, camvid), camvid, strict=True):
        np.testing.assert_array_equal(segmenter(late), brightest_channel(frame))
    masks = segmenter.stream(late_frames(torch, camvid))  # its worker has a current stream too
    for mask, frame in zip(masks, camvid, strict=True):
        np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_threads_and_a_stream_mix_both_kinds_of_frames(
    segmenter: Segmenter, to_gpu: ToGpu, camvid: list[Frame]
) -> None:
    mixed = [to_gpu(frame) if step % 2 else frame for step, frame in enumerate(camvid)]
    expected = [brightest_channel(frame) for frame in camvid]
    wrong: list[object] = []

    def work(start: int) -> None:
        for step in range(50):
            index = (start + step) % len(camvid)
            try:
                if not np.array_equal(segmenter(mixed[index]), expected[index]):
                    wrong.append(step)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(2)]
    for thread in threads:
        thread.start()
    for mask, index in zip(segmenter.stream(mixed * 10), list(range(6)) * 10, strict=True):
        np.testing.assert_array_equal(mask, expected[index])
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_does_not_fit_is_refused_and_survived(
    segmenter: Segmenter, to_gpu: ToGpu, camvid: list[Frame]
) -> None:
    with pytest.raises(InputError, match=r"of size \(180, 480\), and the file takes \(360, 480\)"):
        segmenter(to_gpu(camvid[0])[:180])
    np.testing.assert_array_equal(segmenter(to_gpu(camvid[0])), brightest_channel(camvid[0]))


def test_logits_come_back_to_the_host(to_gpu: ToGpu, camvid: list[Frame], tmp_path: Path) -> None:
    from runtime.cuda.gpu_frames import gpu_frames

    if not gpu_present() or "cuda" not in compiled_providers():
        pytest.skip("no GPU, or an onnxruntime without the CUDA provider")
    path = write_model(tmp_path / "logits.onnx", output_kind="logits")
    batch = np.stack(camvid)
    try:
        opened = OnnxSession.open(path, "cuda")
    except DeviceError as error:
        pytest.skip(str(error))
    with opened as session:
        logits = session(gpu_frames(to_gpu(batch)))
    np.testing.assert_array_equal(logits, batch.transpose(0, 3, 1, 2))
