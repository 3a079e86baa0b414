"""The program of deploy/ray on real Ray: the masks of one process, whatever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from tiny_models import write_model

from runtime.__main__ import main
from runtime.frames import list_images

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-ray/bin/python"
WAIT_SECONDS = 180  # Ray takes its time to start on busy cores

pytestmark = pytest.mark.serving


@pytest.fixture
def photos(camvid: Path, tmp_path: Path) -> Path:
    """40 CamVid frames."""
    if not (ROOT / ".venv-ray/installed").is_file():
        pytest.skip("Ray is not on this machine; make serving sets it up")
    folder = tmp_path / "photos"
    folder.mkdir()
    for image in list_images(camvid / "images/val")[:40]:
        shutil.copyfile(image, folder / image.name)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "toy.onnx", convolved=True)


@pytest.fixture
def expected(photos: Path, model: Path, tmp_path: Path) -> dict[str, bytes]:
    """The masks of one process."""
    output = tmp_path / "expected"
    command = [photos, "--model", model, "--output", output, "--quiet"]
    assert main([str(part) for part in command]) == 0
    return masks(output)


def masks(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*.png")}


class Run:
    """The program, started; `mark` stands in the environment of all of its processes."""

    def __init__(self, photos: Path, model: Path, output: Path, log: Path) -> None:
        self.mark = f"REFINENET_TEST={uuid.uuid4()}"
        name, _, value = self.mark.partition("=")
        command = [PYTHON, ROOT / "deploy/ray/segment_folder.py", photos]
        options = ["--model", model, "--output", output, "--actors", "2", "--batch", "2", "--quiet"]
        self.output, self.log = output, log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, *options, "--threads", "1"],
                env={**os.environ, name: value},
                stdout=out,
                stderr=out,
            )

    def wait_for_masks(self, count: int) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while len(masks(self.output)) < count:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)

    def others(self, title: bytes = b"") -> list[int]:
        """The processes that the program started, by what their command line begins with."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                ours = self.mark.encode() in (folder / "environ").read_bytes()
                if ours and (folder / "cmdline").read_bytes().startswith(title):
                    found.append(int(folder.name))
            except OSError:  # it has just ended, or is another user's
                continue
        return [pid for pid in found if pid != self.process.pid]

    def end(self) -> None:
        for pid in [self.process.pid, *self.others()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


def test_a_killed_worker_is_replaced(
    photos: Path, model: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    run = Run(photos, model, tmp_path / "out", tmp_path / "log")
    try:
        run.wait_for_masks(1)
        victim, *_ = run.others(b"ray::MapWorker")
        os.kill(victim, signal.SIGKILL)
        assert run.process.wait(WAIT_SECONDS) == 0, run.log.read_text()
    finally:
        run.end()
    assert masks(tmp_path / "out") == expected
    assert "40 masks written" in run.log.read_text()


def test_a_killed_run_goes_on(
    photos: Path, model: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    broken = photos / "broken.jpg"
    broken.write_bytes(b"no image")
    first = Run(photos, model, tmp_path / "out", tmp_path / "log")
    try:
        first.wait_for_masks(4)
    finally:
        first.end()
    done = masks(tmp_path / "out")
    assert 4 <= len(done) < 40
    second = Run(photos, model, tmp_path / "out", tmp_path / "log")
    try:
        assert second.process.wait(WAIT_SECONDS) == 2, second.log.read_text()
    finally:
        second.end()
    assert masks(tmp_path / "out") == expected
    said = second.log.read_text()
    assert f"{40 - len(done)} masks written; {len(done)} files were there" in said
    assert "1 images have no mask; the first: " in said
    assert str(broken) in said
