"""Engine on the strict GPU, in every release of TensorRT: the order of its calls, and its masks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import strict_tensorrt
from in_threads import in_four_threads
from numpy.typing import NDArray
from strict_gpu import Gpu
from strict_tensorrt import Context, EngineFile, StrictTensorRT
from tiny_models import CARD, brightest_channel

from runtime import Segmenter, tensorrt_api
from runtime.card import write_sidecar
from runtime.engine.engine import Engine
from runtime.engine.loaded_engine import EngineOptions
from runtime.errors import DeployError, DeviceError, InputError

Opener = Callable[..., tuple[Engine, StrictTensorRT]]
Frame = NDArray[np.uint8]

SMALL = (1, 6, 8, 3)
FIXED = EngineFile(SMALL)
FREE = EngineFile((-1, -1, -1, 3), (((1, 4, 4, 3), (4, 12, 16, 3)),))
TWO_PROFILES = EngineFile(
    (-1, -1, -1, 3), (((1, 4, 4, 3), (1, 32, 32, 3)), ((1, 4, 4, 3), (4, 12, 16, 3)))
)


@pytest.fixture
def latest(shared: Path) -> Path:
    return shared / "reference/tensorrt-api/11.4.0.106.json"


@pytest.fixture
def rtx(shared: Path) -> Path:
    return shared / "reference/tensorrt-api/rtx-1.7.1.116.json"


def frames(*shape: int, seed: int = 0) -> Frame:
    """Noise, so that every wrong byte shows."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def expected(batch: Frame) -> Frame:
    return np.stack([brightest_channel(frame) for frame in batch])


def test_every_release_gives_the_right_masks_of_changing_shapes(
    strict_engine: Opener, release: Path
) -> None:
    engine, _ = strict_engine(release, FREE)
    with engine:
        assert engine.input_shape == (None, None, None, 3)
        assert engine.batch_limits == (1, 4)
        assert engine.description.endswith("Strict GPU")
        for seed, shape in enumerate([SMALL, SMALL, SMALL, (4, 12, 16, 3), SMALL, (2, 5, 5, 3)]):
            batch = frames(*shape, seed=seed)
            np.testing.assert_array_equal(engine(batch), expected(batch))


def test_the_calls_of_one_frame_stand_in_this_order(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path
) -> None:
    engine, _ = strict_engine(latest, FIXED)
    with engine:
        engine(frames(*SMALL))
        engine(frames(*SMALL))
        strict_gpu.calls.clear()
        engine(frames(*SMALL))
        assert strict_gpu.calls == [
            "cuCtxPushCurrent",
            "cudaMemcpyAsync",
            "cudaStreamWaitEvent",
            "cudaGraphLaunch",
            "cudaEventRecord",
            "cudaMemcpyAsync",
            "cudaStreamSynchronize",
            "cuCtxPopCurrent",
        ]


def test_a_shape_is_run_once_then_captured_then_launched(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path
) -> None:
    engine, _ = strict_engine(latest, FREE)
    with engine:
        for seed in range(5):
            batch = frames(*SMALL, seed=seed)
            np.testing.assert_array_equal(engine(batch), expected(batch))
        assert strict_gpu.launched == 4
        assert strict_gpu.calls.count("cudaGraphInstantiate") == 1
        assert strict_gpu.calls.count("execute_async_v3") == 2
        for seed in range(3):
            batch = frames(2, 5, 5, 3, seed=seed)
            np.testing.assert_array_equal(engine(batch), expected(batch))
        assert strict_gpu.calls.count("cudaGraphInstantiate") == 2


def test_alternating_shapes_are_never_captured(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path
) -> None:
    engine, _ = strict_engine(latest, FREE)
    with engine:
        for seed in range(3):
            for shape in (SMALL, (2, 5, 5, 3)):
                engine(frames(*shape, seed=seed))
        assert strict_gpu.launched == 0


def test_without_a_graph_every_frame_is_enqueued(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path
) -> None:
    engine, _ = strict_engine(latest, FIXED, EngineOptions(cuda_graph=False))
    with engine:
        for seed in range(3):
            batch = frames(*SMALL, seed=seed)
            np.testing.assert_array_equal(engine(batch), expected(batch))
        assert "cudaStreamBeginCapture" not in strict_gpu.calls


def test_a_capture_that_fails_is_noted_and_never_launched(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path
) -> None:
    engine, _ = strict_engine(latest, FIXED)
    strict_gpu.failing["cudaGraphInstantiate"] = 0
    with engine:
        for seed in range(3):
            batch = frames(*SMALL, seed=seed)
            np.testing.assert_array_equal(engine(batch), expected(batch))
        assert strict_gpu.launched == 0
        assert len(engine.notes) == 1
        assert "cudaGraphInstantiate" in engine.notes[0]


def test_a_graph_that_is_demanded_and_fails_is_an_error(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path
) -> None:
    engine, _ = strict_engine(latest, FIXED, EngineOptions(cuda_graph=True))
    strict_gpu.failing["cudaGraphInstantiate"] = 0
    with engine:
        engine(frames(*SMALL))
        with pytest.raises(DeviceError, match=r"cudaGraphInstantiate .*cuda_graph=False"):
            engine(frames(*SMALL))


def test_the_tightest_profile_is_chosen(strict_engine: Opener, release: Path) -> None:
    engine, _ = strict_engine(release, TWO_PROFILES)
    with engine:
        assert engine.batch_limits == (1, 4)
        for shape in (SMALL, (1, 32, 32, 3), (4, 12, 16, 3), SMALL):
            batch = frames(*shape)
            np.testing.assert_array_equal(engine(batch), expected(batch))
        with pytest.raises(InputError, match=r"\(2, 32, 32, 3\).*\(1, 4, 4, 3\) to"):
            engine(frames(2, 32, 32, 3))


def test_logits_come_as_floats(strict_engine: Opener, latest: Path) -> None:
    engine, _ = strict_engine(latest, EngineFile(SMALL, output="logits"))
    with engine:
        assert engine.output_kind == "logits"
        batch = frames(*SMALL)
        result = engine(batch)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, batch.transpose(0, 3, 1, 2))


def test_a_result_is_no_view_of_the_engines_memory(strict_engine: Opener, latest: Path) -> None:
    engine, _ = strict_engine(latest, FIXED)
    with engine:
        first = engine(frames(*SMALL))
        before = first.copy()
        engine(frames(*SMALL, seed=1))
        np.testing.assert_array_equal(first, before)
        out = np.empty(SMALL[:3], np.uint8)
        assert engine(frames(*SMALL), out=out) is out
        np.testing.assert_array_equal(out, before)
        with pytest.raises(InputError, match=r"out=.*\(2, 2\)"):
            engine(frames(*SMALL), out=np.empty((2, 2), np.uint8))
        np.testing.assert_array_equal(engine(frames(*SMALL)), before)


def test_several_batches_under_way_do_not_disturb_each_other(
    strict_engine: Opener, release: Path
) -> None:
    engine, _ = strict_engine(release, FIXED)
    with engine:
        for _ in range(3):
            batches = [frames(*SMALL, seed=seed) for seed in range(4)]
            jobs = []
            for batch in batches:
                jobs.append(engine.submit(batch))
                batch += 1  # it was copied: what becomes of it is the caller's affair
            for batch, job in zip(batches, jobs, strict=True):
                np.testing.assert_array_equal(job.result(), expected(batch - np.uint8(1)))


def test_a_result_is_taken_once(strict_engine: Opener, latest: Path) -> None:
    engine, _ = strict_engine(latest, FIXED)
    with engine:
        job = engine.submit(frames(*SMALL))
        job.result()
        with pytest.raises(DeployError, match="already taken"):
            job.result()


def test_threads_compute_at_the_same_time(strict_engine: Opener, latest: Path) -> None:
    engine, _ = strict_engine(latest, FREE)
    wrong: list[int] = []

    def work(seed: int) -> None:
        shape = SMALL if seed % 2 else (2, 5, 5, 3)
        for step in range(20):
            batch = frames(*shape, seed=100 * seed + step)
            if not np.array_equal(engine(batch), expected(batch)):
                wrong.append(seed)

    with engine:
        in_four_threads(work)
    assert wrong == []


def test_without_turns_shared_scratch_memory_would_give_wrong_masks(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime.cuda import cuda_python as cuda

    if strict_gpu.seed is None:
        pytest.skip("the late schedule runs one stream after the other")
    monkeypatch.setattr(cuda.Stream, "wait", lambda *_: None)
    engine, _ = strict_engine(latest, FIXED)
    with engine:
        wrong = 0
        for step in range(30):
            batches = [frames(*SMALL, seed=4 * step + lane) for lane in range(4)]
            jobs = [engine.submit(batch) for batch in batches]
            pairs = zip(batches, jobs, strict=True)
            wrong += sum(not np.array_equal(job.result(), expected(batch)) for batch, job in pairs)
    assert wrong > 0


@pytest.mark.parametrize("integrated", [False, True])
def test_mapped_memory_needs_no_copies(
    strict_engine: Opener, strict_gpu: Gpu, release: Path, integrated: bool
) -> None:
    strict_gpu.integrated = integrated  # a Jetson takes it by default
    options = EngineOptions() if integrated else EngineOptions(mapped_memory=True)
    engine, _ = strict_engine(release, FREE, options)
    with engine:
        for seed, shape in enumerate([SMALL, SMALL, SMALL, (2, 5, 5, 3)]):
            batch = frames(*shape, seed=seed)
            np.testing.assert_array_equal(engine(batch), expected(batch))
    assert "cudaMemcpyAsync" not in strict_gpu.calls


@pytest.mark.parametrize("call", ["deserialize_cuda_engine", "create_execution_context"])
def test_an_engine_that_cannot_be_loaded_says_why(
    strict_engine: Opener, latest: Path, call: str
) -> None:
    file = EngineFile(SMALL, failing=frozenset({call}))
    with pytest.raises(
        DeviceError, match=r"TensorRT 11\S+ cannot load .* refinenet build"
    ) as caught:
        strict_engine(latest, file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("invalidity", "message"),
    [
        (("VERSION_MISMATCH", "CUDA_ERROR"), r"\(VERSION_MISMATCH, CUDA_ERROR\)\. Rebuild it here"),
        (("UNSUPPORTED_CC",), r"\(UNSUPPORTED_CC\)\. .*sm_86, may be no GPU .* --provider cuda"),
        ((), "does not match. Rebuild it here"),
    ],
)
def test_tensorrt_rtx_says_what_is_wrong_with_an_engine(
    strict_engine: Opener, rtx: Path, invalidity: tuple[str, ...], message: str
) -> None:
    refused = frozenset({"deserialize_cuda_engine"})
    with pytest.raises(DeviceError, match=message):
        strict_engine(rtx, EngineFile(SMALL, failing=refused, invalidity=invalidity))


@pytest.mark.parametrize("call", ["set_input_shape", "set_tensor_address", "execute_async_v3"])
def test_a_false_from_tensorrt_is_an_error(strict_engine: Opener, latest: Path, call: str) -> None:
    file = EngineFile(SMALL, failing=frozenset({call}))
    with (
        pytest.raises(DeviceError, match=f": {call} "),
        strict_engine(latest, file)[0] as engine,
    ):
        engine(frames(*SMALL))


@pytest.mark.parametrize(
    "call", ["cudaStreamCreateWithFlags", "cudaMalloc", "cudaHostAlloc", "cudaEventCreateWithFlags"]
)
def test_a_call_that_fails_while_opening_leaves_nothing_behind(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path, call: str
) -> None:
    strict_gpu.failing[call] = 0
    with pytest.raises(DeviceError, match=call):
        strict_engine(latest, FIXED)


def test_a_frame_that_fails_does_not_harm_the_next(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path
) -> None:
    engine, _ = strict_engine(latest, FIXED)
    with engine:
        for seed in range(3):
            engine(frames(*SMALL, seed=seed))
        strict_gpu.failing["cudaGraphLaunch"] = 0
        with pytest.raises(DeviceError, match=r"^cudaGraphLaunch "):
            engine(frames(*SMALL))
        del strict_gpu.failing["cudaGraphLaunch"]
        batch = frames(*SMALL, seed=9)
        np.testing.assert_array_equal(engine(batch), expected(batch))


@pytest.mark.parametrize("strict_gpu", [29], indirect=True)  # a schedule that shows it
def test_a_call_that_fails_half_way_keeps_its_turn(
    strict_engine: Opener, latest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _ = strict_engine(latest, FIXED, EngineOptions(cuda_graph=False))
    given = [frames(*SMALL, seed=seed) for seed in range(3)]
    with engine:
        job = engine.submit(given[0])
        whole = Context.execute_async_v3

        def half(context: Context, stream: int) -> bool:
            whole(context, stream)
            return False

        monkeypatch.setattr(Context, "execute_async_v3", half)
        with pytest.raises(DeviceError, match="execute_async_v3"):
            engine.submit(given[1])
        monkeypatch.setattr(Context, "execute_async_v3", whole)
        np.testing.assert_array_equal(job.result(), expected(given[0]))
        np.testing.assert_array_equal(engine(given[2]), expected(given[2]))


def test_no_room_for_another_lane_says_so_and_the_engine_lives_on(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path
) -> None:
    engine, _ = strict_engine(latest, FIXED)
    with engine:
        job = engine.submit(frames(*SMALL))
        strict_gpu.free_bytes = 10
        with pytest.raises(DeviceError, match=r"^cudaMalloc .* MiB"):
            engine.submit(frames(*SMALL))
        np.testing.assert_array_equal(job.result(), expected(frames(*SMALL)))
        engine(frames(*SMALL))


def test_closing_twice_is_fine_and_using_it_afterwards_is_not(
    strict_engine: Opener, latest: Path
) -> None:
    engine, _ = strict_engine(latest, FIXED)
    job = engine.submit(frames(*SMALL))
    engine.close()
    engine.close()
    with pytest.raises(DeployError, match="was closed"):
        engine(frames(*SMALL))
    with pytest.raises(DeployError, match="was closed"):
        job.result()


def test_a_shape_outside_the_profile_is_refused(strict_engine: Opener, latest: Path) -> None:
    engine, _ = strict_engine(latest, FREE)
    with engine, pytest.raises(InputError, match=r"\(5, 6, 8, 3\)"):
        engine(frames(5, 6, 8, 3))


def test_a_thread_that_was_in_another_context_is_so_afterwards(
    strict_engine: Opener, strict_gpu: Gpu, latest: Path
) -> None:
    strict_gpu.current.append("application")
    engine, _ = strict_engine(latest, FIXED)
    with engine:
        engine(frames(*SMALL))
        assert strict_gpu.current == ["application"]
    assert strict_gpu.current.pop() == "application"


def test_rtx_captures_and_specializes_as_told(strict_engine: Opener, rtx: Path) -> None:
    for options, graphs, specialization in (
        (EngineOptions(), "WHOLE_GRAPH_CAPTURE", "LAZY"),
        (EngineOptions(cuda_graph=False, kernel_specialization="eager"), "DISABLED", "EAGER"),
    ):
        engine, strict = strict_engine(rtx, FREE, options)
        with engine:
            config: Any = strict.config
            assert config.cuda_graph_strategy.name == graphs
            assert config.dynamic_shapes_kernel_specialization_strategy.name == specialization
            assert config.strategy == "USER_MANAGED"


def test_an_unknown_specialization_is_refused() -> None:
    with pytest.raises(InputError, match="expected one of lazy, eager, none"):
        EngineOptions(kernel_specialization="quick")


def test_rtx_keeps_its_kernels_beside_the_engine(
    strict_engine: Opener, rtx: Path, tmp_path: Path
) -> None:
    for run in range(2):
        engine, strict = strict_engine(rtx, FIXED)
        with engine:
            config: Any = strict.config
            assert bool(config.cache._simulation.known) is (run == 1)
            engine(frames(*SMALL))
            assert engine.notes == ()
    assert (tmp_path / "street.fp16.engine.kernels").exists()


def test_kernels_are_kept_after_the_first_result_and_once(
    strict_engine: Opener, strict_gpu: Gpu, rtx: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "street.fp16.engine.kernels"
    engine, _ = strict_engine(rtx, FREE, EngineOptions(kernel_specialization="eager"))
    with engine:
        assert not kept.exists()
        engine.submit(frames(*SMALL)).result()
        first = kept.read_bytes()
        for seed in range(3):
            engine(frames(*SMALL, seed=seed))
        engine(frames(2, 5, 5, 3))  # compiled anew
        assert strict_gpu.calls.count("serialize") == 1
        assert kept.read_bytes() == first
    assert strict_gpu.calls.count("serialize") == 2
    assert b"(2, 5, 5, 3)" in kept.read_bytes()
    assert b"(2, 5, 5, 3)" not in first


def test_while_kernels_are_compiled_in_the_background_they_are_not_asked_for(
    strict_engine: Opener, strict_gpu: Gpu, rtx: Path, tmp_path: Path
) -> None:
    engine, _ = strict_engine(rtx, FREE)
    with engine:
        engine(frames(*SMALL))
        assert "serialize" not in strict_gpu.calls
    assert (tmp_path / "street.fp16.engine.kernels").is_file()


def test_kernels_that_tensorrt_cannot_give_cost_no_mask(
    strict_engine: Opener, rtx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: object) -> bytes:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(strict_tensorrt.RuntimeCache, "serialize", failing)
    engine, _ = strict_engine(rtx, FIXED)
    with engine:
        batch = frames(*SMALL)
        np.testing.assert_array_equal(engine(batch), expected(batch))
    assert engine.notes == ("street.fp16.engine.kernels could not be written: out of memory",)


def test_kernels_that_are_as_they_were_are_not_written_again(
    strict_engine: Opener, rtx: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "street.fp16.engine.kernels"
    engine, _ = strict_engine(rtx, FIXED)
    with engine:
        engine(frames(*SMALL))
        kept.unlink()
    assert not kept.exists()


def test_of_results_that_come_at_once_one_keeps_the_kernels(
    strict_engine: Opener, strict_gpu: Gpu, rtx: Path
) -> None:
    engine, _ = strict_engine(rtx, FIXED)
    ready = threading.Barrier(4)
    right: list[bool] = []

    def work(seed: int) -> None:
        batch = frames(*SMALL, seed=seed)
        job = engine.submit(batch)
        ready.wait()
        right.append(bool((job.result() == expected(batch)).all()))

    with engine:
        in_four_threads(work)
        assert right == [True] * 4
        assert strict_gpu.calls.count("serialize") == 1


def test_kernels_that_cannot_be_kept_cost_no_mask_and_one_note(
    strict_engine: Opener, rtx: Path, tmp_path: Path
) -> None:
    engine, _ = strict_engine(rtx, FIXED)
    (tmp_path / "street.fp16.engine.kernels").mkdir()  # which even root cannot replace with a file
    with engine:
        batch = frames(*SMALL)
        np.testing.assert_array_equal(engine(batch), expected(batch))
        assert len(engine.notes) == 1
        assert "the next start compiles the kernels anew" in engine.notes[0]
    assert len(engine.notes) == 1


def test_without_a_runtime_cache_nothing_is_written(
    strict_engine: Opener, rtx: Path, tmp_path: Path
) -> None:
    engine, _ = strict_engine(rtx, FIXED, EngineOptions(runtime_cache=False))
    with engine:
        engine(frames(*SMALL))
    assert not (tmp_path / "street.fp16.engine.kernels").exists()


def test_a_version_compatible_engine_may_run_its_own_code(
    strict_gpu: Gpu, latest: Path, tmp_path: Path
) -> None:
    path = tmp_path / "street.engine"
    path.write_bytes(b"stands for an engine")
    strict = StrictTensorRT(latest, strict_gpu, FIXED)
    strict.needs_host_code = True
    with pytest.raises(DeviceError, match="host code is not allowed"):
        Engine(path, CARD, strict.trt)
    with Engine(path, CARD, strict.trt, EngineOptions(version_compatible=True)) as engine:
        engine(frames(*SMALL))


def test_an_engine_that_says_so_in_its_sidecar_runs_its_own_code(
    strict_gpu: Gpu, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = StrictTensorRT(shared / "reference/tensorrt-api/10.3.0.json", strict_gpu, FIXED)
    strict.needs_host_code = True
    monkeypatch.setattr(tensorrt_api, "is_installed", lambda name: name == "tensorrt")
    monkeypatch.setattr(tensorrt_api, "load", lambda _: strict.trt)
    path = tmp_path / "street.trt.engine"
    path.write_bytes(b"stands for an engine")
    build = {"package": "tensorrt", "version": "10.3.0", "compute_capabilities": ["sm_86"]}
    write_sidecar(path, CARD, build)
    with pytest.raises(DeviceError, match="host code is not allowed"):
        Engine.open(path)
    write_sidecar(path, CARD, build | {"version_compatible": True})
    with Segmenter.open(path) as segmenter:
        frame = frames(6, 8, 3)
        np.testing.assert_array_equal(segmenter(frame), brightest_channel(frame))


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_batch_is_cut_and_filled_to_fit_the_engine(
    strict_engine: Opener, latest: Path, batch: int
) -> None:
    engine, _ = strict_engine(latest, EngineFile((batch, 6, 8, 3)))
    with Segmenter(engine) as segmenter:
        given = list(frames(5, 6, 8, 3))
        for masks in (segmenter.segment_batch(given), segmenter.stream(given)):
            for mask, frame in zip(masks, given, strict=True):
                np.testing.assert_array_equal(mask, brightest_channel(frame))
        out = np.empty((6, 8), np.uint8)
        assert segmenter(given[0], out=out) is out
        np.testing.assert_array_equal(out, brightest_channel(given[0]))


def test_profiles_may_leave_a_gap_between_batches(strict_engine: Opener, latest: Path) -> None:
    profiles = tuple(((batch, 6, 8, 3),) * 2 for batch in (1, 4))
    engine, _ = strict_engine(latest, EngineFile((-1, 6, 8, 3), profiles))
    with Segmenter(engine) as segmenter:
        for count in range(1, 10):
            given = list(frames(count, 6, 8, 3))
            for mask, frame in zip(segmenter.segment_batch(given), given, strict=True):
                np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_a_size_may_have_batches_of_its_own(strict_engine: Opener, latest: Path) -> None:
    profiles = (((1, 12, 16, 3),) * 2, ((2, 6, 8, 3), (4, 6, 8, 3)))
    engine, _ = strict_engine(latest, EngineFile((-1, -1, -1, 3), profiles))
    with Segmenter(engine) as segmenter:
        for size in ((12, 16), (6, 8)):
            given = list(frames(5, *size, 3))
            for mask, frame in zip(segmenter.segment_batch(given), given, strict=True):
                np.testing.assert_array_equal(mask, brightest_channel(frame))
            np.testing.assert_array_equal(segmenter(given[0]), brightest_channel(given[0]))


def test_a_read_only_out_is_refused(strict_engine: Opener, latest: Path) -> None:
    engine, _ = strict_engine(latest, FIXED)
    out = np.zeros((1, 6, 8), np.uint8)
    out.flags.writeable = False
    with engine, pytest.raises(InputError, match="out= is read-only"):
        engine(frames(*SMALL), out)
    assert not out.any()


def test_an_engine_takes_no_provider(tmp_path: Path) -> None:
    path = tmp_path / "street.engine"
    path.write_bytes(b"stands for an engine")
    with pytest.raises(InputError, match=r"provider and threads are for \.onnx"):
        Segmenter.open(path, provider="cuda")


def test_an_id_that_the_card_of_a_foreign_engine_does_not_name_is_an_error(
    strict_gpu: Gpu, latest: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.engine"
    path.write_bytes(b"stands for an engine")
    two = replace(CARD, variant="unknown", classes=CARD.classes[:2], palette=CARD.palette[:2])
    strict = StrictTensorRT(latest, strict_gpu, FIXED)
    with Engine(path, two, strict.trt) as engine:
        blue = np.zeros(SMALL, np.uint8)
        blue[..., 0] = 9
        assert not engine(blue).any()
        with pytest.raises(InputError, match="the id 2"):
            engine(blue[..., ::-1].copy())
