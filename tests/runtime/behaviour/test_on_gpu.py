"""On a real GPU: what the strict GPU promises. `make gpu` runs these; they need an NVIDIA GPU.

Every test of an engine runs with TensorRT, with TensorRT-RTX, and with the stand-in network, which
needs neither. All of it uses PyCUDA with `pytest --cuda pycuda`.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from engine_building import built
from gpu_builders import every_builder, every_builder_rehearsed
from numpy.typing import NDArray
from rtx_probe import UNSUPPORTED, RtxAnswers, ask_rtx
from tiny_models import brightest_channel, untied, write_model

from runtime import Segmenter, tensorrt_api
from runtime.card import sidecar_path
from runtime.engine.compatibility import RTX_COMPUTE_CAPABILITIES
from runtime.engine.engine import Engine
from runtime.engine.loaded_engine import EngineOptions
from runtime.errors import DeviceError

Frame = NDArray[np.uint8]
Build = Callable[..., Path]

SHAPE = (1, 360, 480, 3)


@pytest.fixture
def camvid(camvid: list[Frame]) -> list[Frame]:
    return [untied(frame) for frame in camvid]


@pytest.fixture
def street(street: Frame) -> Frame:
    return untied(street)


def test_each_pixel_of_these_frames_has_one_brightest_channel(
    camvid: list[Frame], street: Frame
) -> None:
    for frame in (*camvid, street):
        darker, brightest = np.moveaxis(np.sort(frame, axis=2), 2, 0)[1:]
        assert (darker < brightest).all()
        assert np.unique(brightest_channel(frame)).tolist() == [0, 1, 2]


@pytest.mark.gpu
def test_rtx_runs_or_says_that_it_does_not_support_this_gpu(
    rtx_answers: RtxAnswers, capsys: pytest.CaptureFixture[str]
) -> None:
    from runtime.cuda import gpu

    capability = gpu.current_device().compute_capability
    answers = {"portable": rtx_answers.portable, "current": rtx_answers.current}
    with capsys.disabled():  # seen whether it passes or not
        for built_for, answer in answers.items():
            print(f"\nTensorRT-RTX on {capability}, {built_for}: {answer or 'runs'}")
    for answer in filter(None, answers.values()):
        assert capability not in RTX_COMPUTE_CAPABILITIES
        assert UNSUPPORTED.search(answer)


@pytest.mark.parametrize(
    ("answer", "unsupported"),
    [
        ("", False),
        ("TensorRT cannot load toy.engine: out of memory", False),
        ("the mask is wrong", False),
        ("The engine cannot run on this GPU, which has compute capability 9.0", True),
        ("TensorRT cannot load toy.engine: no reason [INVALID UNSUPPORTED_CC; ]", True),
        ("TensorRT-RTX 1.7.1.116 refuses the target current; leave it out", True),
        ("Error Code 1: Internal Error (The current SM version is not supported)", True),
    ],
)
def test_an_unsupported_gpu_is_told_from_other_failures(answer: str, unsupported: bool) -> None:
    assert RtxAnswers(portable=answer, current="").unsupported is unsupported


def test_without_a_gpu_the_probe_says_what_rtx_says(tmp_path: Path) -> None:
    if tensorrt_api.gpu_present() or not tensorrt_api.is_installed("rtx"):
        pytest.skip("needs TensorRT-RTX, and a machine without a GPU")
    answers = ask_rtx(tmp_path)
    assert "no GPU that can run toy.fp32.rtx.engine" in answers.portable
    assert "[INVALID; " in answers.portable
    assert "target current is this machine's GPU, and it has none" in answers.current
    assert not answers.unsupported


@every_builder_rehearsed
def test_masks_are_those_of_onnx_runtime(build: Build, camvid: list[Frame], tmp_path: Path) -> None:
    path = build()
    with Segmenter.open(path) as on_gpu, Segmenter.open(tmp_path / "toy.fp32.onnx") as on_cpu:
        for frame in camvid:
            np.testing.assert_array_equal(on_gpu(frame), on_cpu(frame))
        for frame, mask in zip(camvid, on_gpu.stream(camvid), strict=True):
            np.testing.assert_array_equal(mask, on_cpu(frame))
        assert on_gpu.notes == ()  # the graph was captured


@every_builder_rehearsed
@pytest.mark.parametrize(
    "options",
    [
        EngineOptions(cuda_graph=True),
        EngineOptions(cuda_graph=False),
        EngineOptions(mapped_memory=True),
        EngineOptions(mapped_memory=False),
        EngineOptions(kernel_specialization="eager"),
    ],
)
def test_every_option_gives_the_same_masks(
    build: Build, cuda: ModuleType, camvid: list[Frame], options: EngineOptions
) -> None:
    if options.cuda_graph and not cuda.HAS_GRAPHS:
        pytest.skip(f"{cuda.TITLE} has no CUDA graphs")
    with Segmenter.open(build(), options=options) as segmenter:
        for frame in [*camvid, *camvid]:
            np.testing.assert_array_equal(segmenter(frame), brightest_channel(frame))


@every_builder_rehearsed
def test_shapes_change_from_frame_to_frame(
    build: Build, camvid: list[Frame], street: Frame
) -> None:
    path = build((None, None, None, 3), ((1, 64, 64, 3), SHAPE, (4, 512, 1280, 3)))
    with Segmenter.open(path) as segmenter:
        for frame in (camvid[0], camvid[1], camvid[2], street, street, street, camvid[3]):
            np.testing.assert_array_equal(segmenter(frame), brightest_channel(frame))
        masks = segmenter.segment_batch(camvid)
        for frame, mask in zip(camvid, masks, strict=True):
            np.testing.assert_array_equal(mask, brightest_channel(frame))


@every_builder_rehearsed
def test_two_threads_and_a_stream_at_once(build: Build, camvid: list[Frame]) -> None:
    wrong: list[int] = []
    with Segmenter.open(build()) as segmenter:

        def work(start: int) -> None:
            for step in range(200):
                frame = camvid[(start + step) % len(camvid)]
                if not np.array_equal(segmenter(frame), brightest_channel(frame)):
                    wrong.append(step)

        threads = [threading.Thread(target=work, args=(start,)) for start in range(2)]
        for thread in threads:
            thread.start()
        for frame, mask in zip(camvid * 30, segmenter.stream(camvid * 30), strict=True):
            np.testing.assert_array_equal(mask, brightest_channel(frame))
        for thread in threads:
            thread.join()
    assert wrong == []


@every_builder
@pytest.mark.slow
@pytest.mark.usefixtures("entered")
def test_two_hundred_times_opened_and_closed_leaves_no_memory_behind(
    build: Build, camvid: list[Frame], free_bytes: Callable[[], int]
) -> None:
    path = build()
    for _ in range(20):  # what CUDA and TensorRT load once stays
        with Segmenter.open(path) as segmenter:
            list(segmenter.stream(camvid))
    before = free_bytes()
    for _ in range(200):
        with Segmenter.open(path) as segmenter:
            list(segmenter.stream(camvid))
    assert before - free_bytes() < 16 * 2**20


CLOSING = """
import sys, numpy as np
from runtime.engine.engine import Engine
for height in range(64, 144, 8):
    with Engine.open(sys.argv[1]) as engine:
        engine(np.zeros((1, height, 96, 3), np.uint8))
"""


@every_builder
def test_an_engine_is_closed_while_kernels_for_a_new_shape_are_still_compiled(
    build: Build,
) -> None:
    # TensorRT-RTX compiles them in threads of its own and logs from there, into Python; whoever
    # waits for such a thread with Python's lock held waits for ever.
    shapes = ((1, 64, 64, 3), (1, 64, 96, 3), (1, 360, 480, 3))
    path = build((1, None, None, 3), shapes, convolved=True)
    subprocess.run([sys.executable, "-c", CLOSING, str(path)], check=True, timeout=120)


@every_builder_rehearsed
@pytest.mark.usefixtures("entered")
def test_out_of_memory_says_how_much_was_asked_for_and_is_survived(
    build: Build, cuda: ModuleType, camvid: list[Frame]
) -> None:
    refused = r"(cudaMalloc|cuMemAlloc) was asked for 1048576\.0 MiB .* free"
    with Segmenter.open(build()) as segmenter:
        with pytest.raises(DeviceError, match=refused):
            cuda.DeviceBuffer(2**40)
        np.testing.assert_array_equal(segmenter(camvid[0]), brightest_channel(camvid[0]))


@every_builder
def test_rtx_starts_faster_with_its_kernels_kept(build: Build, camvid: list[Frame]) -> None:
    path = build()
    if not path.name.endswith("rtx.engine"):
        pytest.skip("TensorRT proper compiles nothing at run time")
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        with Segmenter.open(path) as segmenter:
            segmenter(camvid[0])
            seconds.append(time.perf_counter() - started)
            assert segmenter.notes == ()
    file = path.with_name(path.name + ".kernels")
    assert file.stat().st_size > 0
    assert seconds[1] < seconds[0]
    file.write_bytes(file.read_bytes()[:-1])
    with Segmenter.open(path) as segmenter:
        assert "is damaged" in segmenter.notes[0]
        np.testing.assert_array_equal(segmenter(camvid[0]), brightest_channel(camvid[0]))


@every_builder
def test_frames_of_pytorch_on_the_gpu_go_in_directly(build: Build, camvid: list[Frame]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA")
    with Segmenter.open(build()) as segmenter:
        for frame in camvid:
            # Not waited for: the copy is still under way on PyTorch's stream.
            tensor = torch.from_numpy(frame).pin_memory().to("cuda", non_blocking=True)
            np.testing.assert_array_equal(segmenter(tensor), brightest_channel(frame))
        cropped = torch.from_numpy(np.pad(camvid[0], ((0, 0), (0, 40), (0, 0)))).cuda()[:, :480]
        np.testing.assert_array_equal(segmenter(cropped), brightest_channel(camvid[0]))


def test_an_engine_built_here_is_not_called_invalid_without_a_gpu(tmp_path: Path) -> None:
    if tensorrt_api.gpu_present() or not tensorrt_api.is_installed("rtx"):
        pytest.skip("needs TensorRT-RTX, and a machine without a GPU")
    path = built(write_model(tmp_path / "toy.fp32.onnx", (1, 64, 64, 3)), "rtx")
    with pytest.raises(DeviceError, match=r"no GPU that can run .* nor tell whether it is valid"):
        Segmenter.open(path)
    card = tmp_path / "card.json"
    sidecar_path(path).rename(card)
    with pytest.raises(DeviceError, match=r"no GPU that can run .* nor tell whether it is valid"):
        Engine.open(path, card=card)
