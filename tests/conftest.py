"""What all tests share: the real data beside the checkout, and the shipped weights' exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from runtime.cuda import gpu
from runtime.errors import DeployError
from runtime.tensorrt_api import gpu_present

if TYPE_CHECKING:
    from rtx_probe import RtxAnswers
    from triton_server import TritonServer

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """--cuda: a process uses one implementation of CUDA, so the other needs a run of its own."""
    help_text = "of the tests on a GPU; without a GPU nothing runs, instead of skipping all of them"
    parser.addoption("--cuda", choices=tuple(gpu.IMPLEMENTATIONS), help=help_text)


def pytest_configure(config: pytest.Config) -> None:
    """Choose the implementation that --cuda names, before any test asks for a GPU."""
    if (name := config.getoption("--cuda")) is None:
        return
    try:
        gpu.choose(name)
        gpu.current_device()
    except DeployError as error:
        raise pytest.UsageError(f"--cuda {name}: {error}") from error


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the data in ../shared is not on this machine")
    return folder


@pytest.fixture
def start_triton(tmp_path: Path) -> Iterator[Callable[[Path], TritonServer]]:
    """Starts a real Triton server for a repository; it is stopped at the end of the test."""
    if not (ROOT / ".venv-serving/installed").is_file():
        pytest.skip("no Triton server on this machine; make serving sets one up")
    pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    from triton_server import triton_server

    with ExitStack() as servers:
        yield lambda repository: servers.enter_context(
            triton_server(repository, tmp_path / "triton.log")
        )


@pytest.fixture(scope="session")
def rtx_answers(tmp_path_factory: pytest.TempPathFactory) -> RtxAnswers:
    """Whether TensorRT-RTX runs on this GPU, or why not; skips without either."""
    if not gpu_present():
        pytest.skip("no GPU")
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    from rtx_probe import ask_rtx

    return ask_rtx(tmp_path_factory.mktemp("rtx"))


@pytest.fixture(scope="session")
def rtx_runs(rtx_answers: RtxAnswers) -> None:
    """Skips where TensorRT-RTX says that it does not support this GPU, in its words."""
    if rtx_answers.unsupported:
        pytest.skip(rtx_answers.portable)


@pytest.fixture(scope="session")
def camvid(shared: Path) -> Path:
    """CamVid's folder: 367 training and 101 validation images, 360x480, with labels."""
    return shared / "data/camvid"


@pytest.fixture(scope="session")
def photo() -> Path:
    """The outdoor photo of the demo, 427x640."""
    return ROOT / "demo/china.jpg"
