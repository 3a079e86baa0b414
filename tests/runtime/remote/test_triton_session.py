"""A session with a real Triton server: its answers, and answers that are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_models import CARD, brightest_channel, write_model
from triton_server import ROOT, TritonServer, triton_server

from export.serving.repository import triton_repository
from export.serving.serving_plan import PYTHON, TritonOptions
from runtime.errors import DeployError, DeviceError, InputError
from runtime.remote.triton_session import TritonSession

pytestmark = pytest.mark.serving
Start = Callable[[Path], TritonServer]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`toy`, of any size, for the python backend."""
    model = write_model(tmp_path / "toy.onnx")
    return triton_repository(model, TritonOptions(tmp_path / "models", backend=PYTHON)).parent


def frames(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def test_frames_travel_by_memory_or_by_message(repository: Path, start_triton: Start) -> None:
    address = start_triton(repository).address("toy")
    by_memory = TritonSession.open(address)
    by_message = TritonSession.open(address, shared_memory=False)
    for session, way in ((by_memory, "shared memory"), (by_message, "gRPC messages")):
        with session:
            assert session.description.endswith(way)
            assert session.batch_limits == (1, 8)
            # Larger, smaller and larger again: the memory grows and is used in part.
            for shape in ((1, 8, 9), (8, 50, 40), (2, 8, 9), (3, 99, 101)):
                given = frames(*shape)
                expected = np.stack([brightest_channel(frame) for frame in given])
                found = session(given)
                np.testing.assert_array_equal(found, expected)
                out = np.empty(shape, np.uint8)
                assert session(given, out) is out
                np.testing.assert_array_equal(out, expected)
                assert not np.shares_memory(found, session(given[::-1]))
                np.testing.assert_array_equal(found, expected)
            with pytest.raises(InputError, match="1 to 8 frames at once"):
                session(frames(9, 8, 8))
        with pytest.raises(DeployError, match="was closed"):
            session(frames(1, 8, 8))
    assert not list(Path("/dev/shm").glob("refinenet-*"))


def test_a_mask_that_comes_too_late_is_no_other_frames(
    tmp_path: Path, start_triton: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "toy.onnx")
    options = TritonOptions(tmp_path / "models", backend=PYTHON, queue_ms=30_000)
    folder = triton_repository(model, options)
    file = folder / "1/model.py"
    slow = file.read_text().replace(
        "    def execute(self, requests: list[Any]) -> list[Any]:\n",
        "    def execute(self, requests: list[Any]) -> list[Any]:\n"
        "        import time\n        time.sleep(2)\n",
    )
    assert slow != file.read_text()
    file.write_text(slow)
    blue, red = np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8)
    blue[..., 0] = red[..., 2] = 9
    with TritonSession.open(start_triton(folder.parent).address("toy")) as session:
        with monkeypatch.context() as patch:
            patch.setattr("runtime.remote.triton_session.COMPUTE_SECONDS", 0.5)
            with pytest.raises(DeviceError, match="did not answer in time"):
                session(blue)
        assert not list(Path("/dev/shm").glob("refinenet-*"))  # which the server may yet write to
        np.testing.assert_array_equal(session(red), np.full((1, 8, 8), 2, np.uint8))


def test_a_model_that_is_not_there_is_named(repository: Path, start_triton: Start) -> None:
    server = start_triton(repository)
    with pytest.raises(InputError, match="serves no model 'street'"):
        TritonSession.open(server.address("street"))


def test_ids_that_are_no_classes_are_refused(tmp_path: Path, start_triton: Start) -> None:
    model = write_model(tmp_path / "toy.onnx")
    two = tmp_path / "two.json"
    two.write_text(replace(CARD, classes=("a", "b"), palette=CARD.palette[:2]).to_json())
    options = TritonOptions(tmp_path / "models", backend=PYTHON, card=two)
    server = start_triton(triton_repository(model, options).parent)
    with (
        TritonSession.open(server.address("toy")) as session,
        pytest.raises(DeviceError, match=r" id 2\b.* 2 "),
    ):
        session(np.full((1, 4, 4, 3), (0, 0, 9), np.uint8))


@pytest.mark.usefixtures("start_triton")
def test_a_backend_that_would_answer_with_nothing_does_not_start(
    repository: Path, tmp_path: Path
) -> None:
    """Triton 2.51 beside this project's numpy 2."""
    with (
        pytest.raises(AssertionError, match="cannot use numpy 2"),
        triton_server(repository, tmp_path / "log", packages=ROOT / ".venv"),
    ):
        pass


@pytest.mark.usefixtures("start_triton")
def test_empty_masks_are_refused(repository: Path, tmp_path: Path) -> None:
    file = repository / "toy/1/model.py"
    unchecked = file.read_text().replace("        _check_tensors()\n", "")
    file.write_text(unchecked)
    with triton_server(repository, tmp_path / "log", packages=ROOT / ".venv") as server:
        for shares in (True, False):
            with (
                TritonSession.open(server.address("toy"), shared_memory=shares) as session,
                pytest.raises(DeviceError, match="numpy<2"),
            ):
                session(frames(1, 8, 8))
