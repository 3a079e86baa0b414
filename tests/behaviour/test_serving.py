"""What export-triton writes, in a real Triton server: masks, overload, a dead model, the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from in_threads import in_four_threads
from numpy.typing import NDArray
from tiny_models import write_model
from triton_server import TritonServer, stop

from export.serving.repository import triton_repository
from export.serving.serving_plan import PYTHON, TritonOptions
from runtime.errors import DeviceError
from runtime.frames import list_images, read_frame
from runtime.segmenter import Segmenter

ROOT = Path(__file__).resolve().parents[2]
SIZE = (120, 160)

pytestmark = pytest.mark.serving


@pytest.fixture
def frames(camvid: Path) -> list[NDArray[np.uint8]]:
    """Eight validation frames, each (360, 480, 3)."""
    return [read_frame(path) for path in list_images(camvid / "images/val")[::13]]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A dynamic file as `any`, a static one as `one`, for the python backend."""
    dynamic = write_model(tmp_path / "any.onnx", convolved=True)
    static = write_model(tmp_path / "one.onnx", (1, *SIZE, 3), convolved=True)
    for model in (dynamic, static):
        triton_repository(model, TritonOptions(tmp_path / "repository", backend=PYTHON))
    return tmp_path / "repository"


@pytest.fixture
def server(repository: Path, start_triton: Callable[[Path], TritonServer]) -> TritonServer:
    return start_triton(repository)


def probe(server: TritonServer, name: str) -> tuple[int, str]:
    """Exit code and words of the liveness probe that deploy/ ships."""
    command = [sys.executable, ROOT / "deploy/triton/probe.py", name]
    done = subprocess.run(
        [*command, "--server", f"127.0.0.1:{server.http}"], capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_masks_are_those_of_the_file(
    server: TritonServer, tmp_path: Path, frames: list[NDArray[np.uint8]]
) -> None:
    for name in ("any", "one"):
        with (
            Segmenter.open(tmp_path / f"{name}.onnx") as local,
            Segmenter.open(server.address(name)) as served,
        ):
            assert served.card == local.card
            assert served.description.endswith("python on its CPU, over shared memory")
            for frame in (*frames, frames[0][:99, :123]):
                np.testing.assert_array_equal(served(frame), local(frame))
            for found, expected in zip(
                served.segment_batch(frames), local.segment_batch(frames), strict=True
            ):
                np.testing.assert_array_equal(found, expected)
        assert probe(server, name) == (0, f"{name} at 127.0.0.1:{server.http}: gives masks\n")


def test_four_clients_get_their_own_masks_in_batches(
    server: TritonServer, tmp_path: Path, frames: list[NDArray[np.uint8]]
) -> None:
    with Segmenter.open(tmp_path / "any.onnx") as local:
        expected = [local(frame) for frame in frames]

    def client(_: int = 0) -> None:
        with Segmenter.open(server.address("any")) as served:
            for _ in range(5):
                for frame, mask in zip(frames, expected, strict=True):
                    np.testing.assert_array_equal(served(frame), mask)

    in_four_threads(client)
    counted = dict(
        re.findall(
            r'^(nv_inference_(?:count|exec_count)){model="any".*} (\d+)', server.scraped(), re.M
        )
    )
    assert int(counted["nv_inference_count"]) >= 4 * 5 * len(frames)
    assert int(counted["nv_inference_exec_count"]) < int(counted["nv_inference_count"])


@pytest.mark.parametrize("shape", [(None, None, None, 3), (1, 720, 960, 3)])
def test_overload_is_refused(
    shape: tuple[int | None, ...],
    tmp_path: Path,
    start_triton: Callable[[Path], TritonServer],
    frames: list[NDArray[np.uint8]],
) -> None:
    model = write_model(tmp_path / "busy.onnx", shape, convolved=True)
    options = TritonOptions(tmp_path / "repository", backend=PYTHON, queue_ms=1)
    server = start_triton(triton_repository(model, options).parent)
    frame = np.repeat(np.repeat(frames[0], 2, axis=0), 2, axis=1)
    outcomes: list[str] = []
    until = time.monotonic() + 3

    def client(_: int = 0) -> None:
        with Segmenter.open(server.address("busy")) as served:
            while time.monotonic() < until:
                try:
                    served(frame)
                    outcomes.append("mask")
                except DeviceError as error:
                    outcomes.append(str(error))

    in_four_threads(client)
    refused = {outcome for outcome in outcomes if outcome != "mask"}
    assert "mask" in outcomes
    assert refused
    assert all("too much to do" in outcome for outcome in refused), refused


def test_the_probe_notices_a_killed_model(server: TritonServer) -> None:
    assert probe(server, "any")[0] == 0
    victims = server.stubs()
    assert len(victims) == 2
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    for path in ("v2/health/live", "v2/health/ready", "v2/models/any/ready"):
        assert server.get(path)[0] == 200  # which is why the probe asks for a mask
    code, words = probe(server, "any")
    assert (code, words.count("\n")) == (1, 1)
    assert "not healthy" in words
    with Segmenter.open(server.address("any")) as served, pytest.raises(DeviceError) as failed:
        served(np.zeros((8, 8, 3), np.uint8))
    assert "not healthy" in str(failed.value)


def test_a_busy_server_is_alive(
    tmp_path: Path, start_triton: Callable[[Path], TritonServer]
) -> None:
    model = write_model(tmp_path / "busy.onnx", convolved=True)
    options = TritonOptions(tmp_path / "repository", backend=PYTHON, queue_ms=1)
    server = start_triton(triton_repository(model, options).parent)
    over = threading.Event()
    refused: list[str] = []

    def client(_: int = 0) -> None:
        with Segmenter.open(server.address("busy")) as served:
            while not over.is_set():
                try:
                    served(np.zeros((720, 960, 3), np.uint8))
                except DeviceError as error:
                    refused.append(str(error))

    clients = [threading.Thread(target=client) for _ in range(4)]
    for thread in clients:
        thread.start()
    try:
        codes = {probe(server, "busy")[0] for _ in range(5)}
    finally:
        over.set()
        for thread in clients:
            thread.join()
    assert codes == {0}
    assert refused


def test_the_smoke_test_compares_masks(
    server: TritonServer, repository: Path, tmp_path: Path, photo: Path
) -> None:
    def smoke(model: Path) -> subprocess.CompletedProcess[str]:
        script = repository / "any/smoke_test.py"
        options = ["--model", model, "--images", photo, "--server", f"127.0.0.1:{server.grpc}"]
        return subprocess.run(
            [sys.executable, script, *options],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    good = smoke(tmp_path / "any.onnx")
    assert (good.returncode, good.stderr) == (0, "")
    assert "100.0000% of 273280 pixels" in good.stdout
    # Another file than the one that is served: its graph has another kernel.
    other = tmp_path / "other.onnx"
    other.write_bytes(
        (tmp_path / "any.onnx").read_bytes().replace(b"\x00\x00\x80\x3f", b"\x00\x00\x80\xbf")
    )
    bad = smoke(other)
    assert bad.returncode == 1
    assert bad.stderr.startswith("smoke_test.py: ")


def test_the_server_ends_cleanly(server: TritonServer) -> None:
    with Segmenter.open(server.address("any")) as served:
        served(np.zeros((8, 8, 3), np.uint8))
    stubs = server.stubs()
    assert stop(server) == 0
    assert not [pid for pid in stubs if Path(f"/proc/{pid}").exists()]
    assert not list(Path("/dev/shm").glob("refinenet-*"))
    with pytest.raises(DeviceError, match="no server answers"):
        Segmenter.open(server.address("any"))
