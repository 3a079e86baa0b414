"""Engine: what it does with every answer of TensorRT, and on a GPU that its masks are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_tensorrt import CUDA, FakeBuffer, fake_tensorrt
from numpy.typing import NDArray
from tiny_models import CARD, brightest_channel, write_model

import runtime
from runtime import Segmenter, tensorrt_api
from runtime.card import sidecar_path, write_sidecar
from runtime.engine import Engine
from runtime.errors import DeployError, DeviceError, InputError

Frame = NDArray[np.uint8]
FREE = (-1, -1, -1, 3)
LARGEST = (4, 400, 1300, 3)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Engine]:
    """Opens an engine on the fake GPU."""
    monkeypatch.setattr(runtime, "cuda", CUDA, raising=False)
    path = tmp_path / "street.fp16.trt.engine"
    path.write_bytes(b"stands for an engine")

    def open_engine(
        shape: Sequence[int], largest: Sequence[int] | None = None, failing: str = ""
    ) -> Engine:
        return Engine(path, CARD, fake_tensorrt(shape, largest, failing))

    return open_engine


def test_frames_of_changing_shape_give_their_masks(
    opened: Callable[..., Engine], street: Frame, camvid: list[Frame]
) -> None:
    with opened(FREE, LARGEST) as engine:
        assert engine.input_shape == (None, None, None, 3)
        assert engine.batch_limits == (1, 4)
        assert engine.description == "TensorRT 11.4.0, Fake GPU"
        for batch in (np.stack(camvid[:4]), street[None], np.stack(camvid[:2])):
            expected = [brightest_channel(frame) for frame in batch]
            np.testing.assert_array_equal(engine(batch), expected)


def test_a_segmenter_runs_on_an_engine(opened: Callable[..., Engine], camvid: list[Frame]) -> None:
    with Segmenter(opened((2, 360, 480, 3))) as segmenter:
        masks = segmenter.segment_batch(camvid[:3])
        for frame, mask in zip(camvid, [*masks, *segmenter.stream(camvid[3:])], strict=True):
            np.testing.assert_array_equal(mask, brightest_channel(frame))


def test_a_result_is_no_view_of_the_engines_memory(
    opened: Callable[..., Engine], camvid: list[Frame]
) -> None:
    with opened((1, 360, 480, 3)) as engine:
        first = engine(camvid[0][None])
        before = first.copy()
        engine(camvid[1][None])
        np.testing.assert_array_equal(first, before)
        out = np.empty((1, 360, 480), np.uint8)
        assert engine(camvid[0][None], out=out) is out
        np.testing.assert_array_equal(out, before)


def test_a_shape_outside_the_profile_is_refused(
    opened: Callable[..., Engine], street: Frame
) -> None:
    with opened(FREE, (1, 360, 480, 3)) as engine, pytest.raises(InputError, match="was built for"):
        engine(street[None])


@pytest.mark.parametrize("call", ["deserialize_cuda_engine", "create_execution_context"])
def test_an_engine_that_cannot_be_loaded_says_why(opened: Callable[..., Engine], call: str) -> None:
    with pytest.raises(DeviceError, match=r"TensorRT cannot load .* refinenet build") as caught:
        opened((1, 360, 480, 3), failing=call)
    assert "\n" not in str(caught.value)
    assert FakeBuffer.alive == 0


@pytest.mark.parametrize("call", ["set_input_shape", "set_tensor_address", "execute_async_v3"])
def test_a_false_from_tensorrt_is_an_error_and_frees_everything(
    opened: Callable[..., Engine], camvid: list[Frame], call: str
) -> None:
    with (
        pytest.raises(DeviceError, match=f"{call} failed"),
        opened((1, 360, 480, 3), failing=call) as engine,
    ):
        engine(camvid[0][None])
    assert FakeBuffer.alive == 0


def test_closing_twice_is_fine_and_using_it_afterwards_is_not(
    opened: Callable[..., Engine], street: Frame
) -> None:
    engine = opened((1, 370, 1226, 3))
    assert FakeBuffer.alive == 4
    engine.close()
    engine.close()
    assert FakeBuffer.alive == 0
    with pytest.raises(DeployError, match="was closed"):
        engine(street[None])


def test_an_engine_takes_no_provider(tmp_path: Path) -> None:
    path = tmp_path / "street.engine"
    path.write_bytes(b"stands for an engine")
    with pytest.raises(InputError, match=r"provider and threads are for \.onnx"):
        Segmenter.open(path, provider="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("runtime_name", ["rtx", "tensorrt"])
def test_an_engine_on_a_gpu_sees_what_onnx_runtime_sees(
    tmp_path: Path, camvid: list[Frame], runtime_name: str
) -> None:
    if not tensorrt_api.gpu_present():
        pytest.skip("no GPU")
    if not tensorrt_api.is_installed(runtime_name):
        pytest.skip(f"{runtime_name} is not installed")
    onnx_file = write_model(tmp_path / "toy.fp32.onnx", (1, 360, 480, 3))
    path = built(onnx_file, runtime_name)
    with Segmenter.open(path) as on_gpu, Segmenter.open(onnx_file) as on_cpu:
        for frame, mask in zip(camvid, on_gpu.stream(camvid), strict=True):
            np.testing.assert_array_equal(mask, on_cpu(frame))


def test_an_engine_built_here_is_not_called_invalid_without_a_gpu(tmp_path: Path) -> None:
    if tensorrt_api.gpu_present() or not tensorrt_api.is_installed("rtx"):
        pytest.skip("needs TensorRT-RTX, and a machine without a GPU")
    path = built(write_model(tmp_path / "toy.fp32.onnx", (1, 64, 64, 3)), "rtx")
    with pytest.raises(DeviceError, match=r"no GPU that can run .* nor tell whether it is valid"):
        Segmenter.open(path)
    card = tmp_path / "card.json"
    sidecar_path(path).rename(card)
    with pytest.raises(DeviceError, match=r"no GPU that can run .* nor tell whether it is valid"):
        Segmenter.open(path, card=card)


def built(onnx_file: Path, runtime_name: str) -> Path:
    """An engine of the tiny model, built with TensorRT's own calls."""
    trt = tensorrt_api.load(runtime_name)
    logger = tensorrt_api.make_logger(trt)
    builder = trt.module.Builder(logger)
    strongly_typed = 1 << int(trt.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = trt.module.OnnxParser(network, logger)
    assert parser.parse(onnx_file.read_bytes()), logger.errors
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    assert plan is not None, logger.errors
    path = onnx_file.with_name("toy.fp32.rtx.engine")
    path.write_bytes(plan)
    capabilities: list[str] = []
    if tensorrt_api.gpu_present():
        from runtime.cuda import current_device

        capabilities = [current_device().compute_capability]
    build = {
        "package": runtime_name,
        "version": trt.version,
        "compute_capabilities": capabilities,
    }
    write_sidecar(path, CARD, build)
    return path
