"""An engine is compared with this machine before TensorRT sees it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_models import CARD

from runtime import Segmenter, tensorrt_api
from runtime.card import sidecar_path, write_sidecar
from runtime.engine import compatibility
from runtime.engine.compatibility import check_machine, rebuild_hint
from runtime.errors import CardError, DeviceError, EngineMismatch, MissingPackage
from runtime.tensorrt_api import TensorRT

HERE = {"package": "rtx", "version": "1.7.1", "compute_capabilities": []}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with TensorRT-RTX 1.7.1 alone and a GPU of sm_86."""
    monkeypatch.setattr(tensorrt_api, "is_installed", lambda name: name == "rtx")
    monkeypatch.setattr(
        tensorrt_api, "load", lambda name: TensorRT(name, "1.7.1", SimpleNamespace())
    )
    monkeypatch.setattr(compatibility, "_compute_capability", lambda _: "sm_86")


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "street.fp16.rtx.engine"
    path.write_bytes(b"stands for an engine")
    return path


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("capabilities", [[], ["sm_86"], ["sm_80", "sm_86"]])
def test_an_engine_for_this_machine_passes(engine: Path, capabilities: list[str]) -> None:
    check_machine(engine, HERE | {"compute_capabilities": capabilities})


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("difference", "message"),
    [
        (
            {"package": "tensorrt", "version": "10.13.0"},
            "street.fp16.rtx.engine was built with TensorRT 10.13.0; this machine has "
            "TensorRT-RTX 1.7.1. Rebuild it here: refinenet build street.fp16.onnx --runtime rtx",
        ),
        (
            {"version": "1.6.0"},
            "street.fp16.rtx.engine was built with TensorRT-RTX 1.6.0; this machine has "
            "TensorRT-RTX 1.7.1. Rebuild it here: refinenet build street.fp16.onnx --runtime rtx",
        ),
        (
            {"compute_capabilities": ["sm_89", "sm_120"]},
            "street.fp16.rtx.engine was built with TensorRT-RTX 1.7.1 for sm_89, sm_120; this "
            "machine's GPU is sm_86. Rebuild it here: refinenet build street.fp16.onnx "
            "--runtime rtx --target sm_86",
        ),
    ],
)
def test_a_mismatch_names_both_sides_and_the_command(
    engine: Path, difference: dict[str, object], message: str
) -> None:
    with pytest.raises(EngineMismatch) as caught:
        check_machine(engine, HERE | difference)
    assert str(caught.value) == message


FULL = {"package": "tensorrt", "version": "10.13.0", "compute_capabilities": ["sm_87"]}


@pytest.fixture
def full_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with TensorRT 11.4.0 alone and a GPU of sm_87."""
    monkeypatch.setattr(tensorrt_api, "is_installed", lambda name: name == "tensorrt")
    monkeypatch.setattr(
        tensorrt_api, "load", lambda name: TensorRT(name, "11.4.0", SimpleNamespace())
    )
    monkeypatch.setattr(compatibility, "_compute_capability", lambda _: "sm_87")


@pytest.mark.usefixtures("full_machine")
def test_a_version_compatible_engine_runs_on_later_releases_alone(engine: Path) -> None:
    check_machine(engine, FULL | {"version_compatible": True})
    with pytest.raises(EngineMismatch, match=r"TensorRT 10\.13\.0; this machine has .* 11\.4\.0"):
        check_machine(engine, FULL)
    with pytest.raises(EngineMismatch, match=r"TensorRT 11\.10\.0; this machine has .* 11\.4\.0"):
        check_machine(engine, FULL | {"version": "11.10.0", "version_compatible": True})


@pytest.mark.usefixtures("full_machine")
def test_hardware_compatibility_opens_an_engine_to_ampere_and_later(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = FULL | {"version": "11.4.0", "compute_capabilities": ["sm_80"]}
    check_machine(engine, elsewhere | {"hardware": "ampere_plus"})
    for hardware in ("none", "same_compute_capability"):
        with pytest.raises(EngineMismatch, match="for sm_80; this machine's GPU is sm_87"):
            check_machine(engine, elsewhere | {"hardware": hardware})
    monkeypatch.setattr(compatibility, "_compute_capability", lambda _: "sm_75")
    with pytest.raises(EngineMismatch, match="for sm_80 and later; this machine's GPU is sm_75"):
        check_machine(engine, elsewhere | {"hardware": "ampere_plus"})


@pytest.mark.usefixtures("machine")
def test_rtx_serves_turing_only_on_request(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "_compute_capability", lambda _: "sm_75")
    with pytest.raises(EngineMismatch, match=r"sm_80 and later; .* --runtime rtx --target sm_75"):
        check_machine(engine, HERE)
    check_machine(engine, HERE | {"compute_capabilities": ["sm_75"]})


@pytest.mark.usefixtures("machine")
def test_an_engine_without_its_weights_says_how_to_fill_them_in(engine: Path) -> None:
    with pytest.raises(
        EngineMismatch,
        match=r"without its weights.*refinenet build street\.fp16\.onnx --refit street\.fp16\.rtx",
    ):
        check_machine(engine, HERE | {"weights": "stripped"})


@pytest.mark.parametrize("build", [{}, {"package": "cudnn"}, HERE | {"version": None}])
def test_a_sidecar_that_does_not_say_is_refused(engine: Path, build: dict[str, object]) -> None:
    with pytest.raises(CardError, match="does not say what it was built with"):
        check_machine(engine, build)


def test_without_any_tensorrt_it_says_what_to_install(
    engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_api, "find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match=r"pip install '.*\[rtx\]'"):
        check_machine(engine, HERE)


def test_a_changed_engine_is_refused_before_anything_else(engine: Path) -> None:
    write_sidecar(engine, CARD, HERE)
    engine.write_bytes(b"stands for an engiNe")
    with pytest.raises(EngineMismatch, match="SHA-256"):
        Segmenter.open(engine)


def test_a_card_from_elsewhere_is_checked_like_a_sidecar(engine: Path, tmp_path: Path) -> None:
    write_sidecar(engine, CARD, HERE | {"version": "0.1"})
    given = sidecar_path(engine).rename(tmp_path / "given.json")
    with pytest.raises(EngineMismatch, match=r"was built with TensorRT-RTX 0\.1"):
        Segmenter.open(engine, card=given)
    engine.write_bytes(b"stands for an engiNe")
    with pytest.raises(EngineMismatch, match=r"not the file that given\.json describes"):
        Segmenter.open(engine, card=given)


def test_an_engine_without_a_card_is_refused(engine: Path) -> None:
    with pytest.raises(CardError, match="--card FILE"):
        Segmenter.open(engine)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.fp16.rtx.engine", "a.fp16.onnx"),
        ("a.int8.trt.engine", "a.int8.onnx"),
        ("a.engine", "a.onnx"),
    ],
)
def test_the_hint_names_the_onnx_file(name: str, source: str) -> None:
    assert rebuild_hint(Path(name)) == f"Rebuild it here: refinenet build {source}"


def test_cuda_says_which_call_failed_and_why() -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    if tensorrt_api.gpu_present():
        pytest.skip("this machine has a GPU: no call fails")
    from runtime.cuda.cuda_python import DeviceBuffer

    with pytest.raises(DeviceError, match=r"cudaMalloc failed: .*\(cudaError\w+\)"):
        DeviceBuffer(1024)


def test_out_of_memory_says_how_much_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    from runtime.cuda import cuda_python as cuda

    codes = cuda.cudart.cudaError_t
    fake = SimpleNamespace(
        cudaError_t=codes,
        cudaGetLastError=lambda: (codes.cudaErrorMemoryAllocation,),
        cudaMalloc=lambda _: (codes.cudaErrorMemoryAllocation, None),
        cudaMemGetInfo=lambda: (codes.cudaSuccess, 100 * 2**20, 8192 * 2**20),
    )
    monkeypatch.setattr(cuda, "cudart", fake)
    with pytest.raises(DeviceError, match=r"asked for 512\.0 MiB .* 100 of the GPU's 8192 MiB"):
        cuda.DeviceBuffer(512 * 2**20)


@pytest.mark.gpu
def test_pinned_and_device_memory_carry_bytes_there_and_back() -> None:
    if not tensorrt_api.gpu_present():
        pytest.skip("no GPU")
    from runtime.cuda import cuda_python as cuda

    with (
        cuda.Stream() as stream,
        cuda.PinnedBuffer(256) as there,
        cuda.PinnedBuffer(256) as back,
        cuda.DeviceBuffer(256) as device,
    ):
        there.array[:] = range(256)
        cuda.copy_to_device(device, there, 256, stream)
        cuda.copy_to_host(back, device, 256, stream)
        stream.synchronize()
        assert back.array.tolist() == list(range(256))
