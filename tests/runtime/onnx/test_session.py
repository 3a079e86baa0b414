"""OnnxSession: the face that it shares with Engine."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from tiny_models import brightest_channel, untied, write_model

from runtime.errors import DeployError, DeviceError, InputError, MissingPackage
from runtime.onnx import providers as onnx_providers
from runtime.onnx import rtx_plugin
from runtime.onnx.providers import compiled_providers, create_session, require_cuda_kernels
from runtime.onnx.session import OnnxSession
from runtime.tensorrt_api import gpu_present

Frame = NDArray[np.uint8]


def test_a_batch_gives_its_masks(model: Path, camvid: list[Frame]) -> None:
    with OnnxSession.open(model, threads=1) as session:
        assert session.output_kind == "mask"
        assert session.input_shape == (None, None, None, 3)
        masks = session(np.stack(camvid))
    np.testing.assert_array_equal(masks, [brightest_channel(frame) for frame in camvid])


def test_a_logits_file_gives_floats(tmp_path: Path, street: Frame) -> None:
    path = write_model(tmp_path / "logits.onnx", output_kind="logits")
    with OnnxSession.open(path) as session:
        assert session.output_kind == "logits"
        logits = session(street[None])
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, street.transpose(2, 0, 1)[None])


def test_out_is_written_into(model: Path, street: Frame) -> None:
    out = np.empty((1, *street.shape[:2]), np.uint8)
    with OnnxSession.open(model) as session:
        assert session(street[None], out=out) is out
        np.testing.assert_array_equal(out[0], brightest_channel(street))
        with pytest.raises(InputError, match=r"out=.*\(370, 1226\) uint8"):
            session(street[None], out=out[0])


def test_out_may_be_a_view_with_strides(model: Path, street: Frame) -> None:
    wide = np.zeros((1, *street.shape[:2], 2), np.uint8)
    with OnnxSession.open(model) as session:
        session(street[None, :, ::-1], out=wide[..., 0])
    np.testing.assert_array_equal(wide[0, ..., 0], brightest_channel(street[:, ::-1]))
    assert not wide[..., 1].any()


def test_logits_go_into_out_too(tmp_path: Path, street: Frame) -> None:
    path = write_model(tmp_path / "logits.onnx", output_kind="logits")
    out = np.empty((1, 3, *street.shape[:2]), np.float32)
    with OnnxSession.open(path) as session:
        assert session(street[None], out=out) is out
    np.testing.assert_array_equal(out, street.transpose(2, 0, 1)[None])


@pytest.mark.parametrize(
    ("provider", "package"), [("cuda", "onnxruntime-gpu"), ("tensorrt", "onnxruntime-gpu")]
)
def test_a_provider_that_cannot_start_says_what_is_missing(
    model: Path, provider: str, package: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if gpu_present() or provider not in compiled_providers():
        pytest.skip("a GPU, or an onnxruntime that has no such provider")
    with pytest.raises(DeviceError, match="could not start on this machine: ") as caught:
        OnnxSession.open(model, provider)
    assert f"pip install '{package}" in str(caught.value) or "no GPU" in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("version", [None, "10.16.1.11", "11.4.0.106"])
def test_the_tensorrt_that_the_provider_is_linked_to_is_named(
    model: Path, version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if gpu_present() or "tensorrt" not in compiled_providers():
        pytest.skip("a GPU, or an onnxruntime that has no such provider")

    def installed(_: str) -> str:
        if version is None:
            raise PackageNotFoundError
        return version

    monkeypatch.setattr(onnx_providers, "version", installed)
    with pytest.raises(DeviceError) as caught:
        OnnxSession.open(model, "tensorrt")
    linked = re.search(r"\[cuda,cudnn\]' 'tensorrt>=(\d+),<\d+'", str(caught.value))
    assert linked is not None
    other = version is not None and not version.startswith(f"{linked[1]}.")
    told = f"linked to TensorRT {linked[1]}, and this machine has TensorRT {version}"
    assert (told in str(caught.value)) is other


def test_the_rtx_provider_names_the_package_for_linux(model: Path) -> None:
    if rtx_plugin.is_installed():
        pytest.skip("the TensorRT-RTX plug-in is installed")
    with pytest.raises(MissingPackage, match=r"onnxruntime-ep-nv-tensorrt-rtx-cu13.*-rtx\]"):
        OnnxSession.open(model, "rtx")


def test_an_onnxruntime_that_takes_no_plugins_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtx_plugin, "is_installed", lambda: True)
    with pytest.raises(DeviceError, match=r"needs ONNX Runtime 1\.24 or later; this is 1\.23\.2"):
        rtx_plugin.devices(SimpleNamespace(__version__="1.23.2"))


@pytest.mark.parametrize("version", ["1.23.2", "1.24.3"])
def test_a_cuda_provider_without_our_kernels_is_refused(version: str) -> None:
    with pytest.raises(DeviceError, match=rf"{re.escape(version)} leaves Resize to the CPU"):
        require_cuda_kernels(version)


@pytest.mark.parametrize("version", ["1.25.0", "1.31.1", "2.0.0"])
def test_a_cuda_provider_with_our_kernels_is_taken(version: str) -> None:
    require_cuda_kernels(version)


@pytest.mark.gpu
@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "rtx"])
def test_a_gpu_provider_gives_the_same_masks(
    model: Path, camvid: list[Frame], provider: str
) -> None:
    if not gpu_present() or provider not in compiled_providers():
        pytest.skip("no GPU, or an onnxruntime without this provider")
    frames = np.stack([untied(frame) for frame in camvid])
    out = np.empty((len(frames), 360, 480), np.uint8)
    try:
        opened = OnnxSession.open(model, provider)
    except DeviceError as error:
        pytest.skip(str(error))
    with opened as session:
        masks = session(frames)
        session(frames, out=out)
    np.testing.assert_array_equal(masks, [brightest_channel(frame) for frame in frames])
    np.testing.assert_array_equal(out, masks)


def test_a_shape_that_the_file_does_not_take_is_refused(tmp_path: Path, street: Frame) -> None:
    path = write_model(tmp_path / "fixed.onnx", (1, 360, 480, 3))
    with OnnxSession.open(path) as session:
        assert session.batch_limits == (1, 1)
        with pytest.raises(InputError, match=r"\(1, 370, 1226, 3\); fixed\.onnx .*--dynamic"):
            session(street[None])


def test_closing_twice_is_fine_and_using_it_afterwards_is_not(model: Path, street: Frame) -> None:
    session = OnnxSession.open(model)
    session.close()
    session.close()
    with pytest.raises(DeployError, match=r"toy\.fp32\.onnx"):
        session(street[None])


def test_an_operator_that_the_cpu_lacks_is_no_fault_of_the_file(tmp_path: Path) -> None:
    of = TensorProto.BFLOAT16
    graph = helper.make_graph(
        [helper.make_node("Conv", ["map", "kernel"], ["result"])],
        "bfloat16",
        [helper.make_tensor_value_info(name, of, (1, 1, 4, 4)) for name in ("map", "kernel")],
        [helper.make_tensor_value_info("result", of, (1, 1, 1, 1))],
    )
    opset = [helper.make_opsetid("", 22)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "bf16.onnx")
    with pytest.raises(DeviceError, match=r"bf16\.onnx: Could not find .* another --provider"):
        create_session(tmp_path / "bf16.onnx", "cpu", None)
