"""deploy/refinenet-camera.service: its command line does what its comments say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runtime.app.video_source import VideoSource
from runtime.frames import Frame
from tools.cameras.mjpeg_server import MjpegServer

UNIT = Path(__file__).parents[3] / "deploy/refinenet-camera.service"


def settings() -> dict[str, str]:
    """The unit's settings as systemd reads them: comments gone, continued lines joined."""
    lines = [line for line in UNIT.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def started(camera: str, model: Path, folder: Path) -> subprocess.Popen[str]:
    """ExecStart with this interpreter and folder in the place of those of a Jetson."""
    command = settings()["ExecStart"].replace("%%", "%")
    command = command.replace("/opt/refinenet/venv/bin/python", sys.executable)
    command = command.replace("/var/lib/refinenet", str(folder))
    command = command.replace("--reconnect 300", "--reconnect 0.2")
    shell = re.fullmatch(r"/bin/sh -c '(.*)'", command)
    assert shell is not None
    return subprocess.Popen(
        ["/bin/sh", "-c", shell[1]],
        env={**os.environ, "CAMERA": camera, "MODEL": str(model)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def only_video(folder: Path) -> Path:
    (video,) = folder.glob("*.mkv")
    assert re.fullmatch(r"\d{8}T\d{6}Z\.mkv", video.name)
    return video


def test_a_lost_camera_ends_it_with_a_whole_video_and_it_is_started_again(
    model: Path, camvid: list[Frame], tmp_path: Path
) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    with MjpegServer(camvid) as camera:
        process = started(camera.address, model, folder)
        while not list(folder.iterdir()):  # the camera is switched off once frames have come
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "SourceLost" in stderr
    with VideoSource(str(only_video(folder))) as video:
        assert sum(1 for _ in video) >= 1
    assert settings()["Restart"] == "always"
    assert settings()["StartLimitIntervalSec"] == "0"


def test_stopping_it_leaves_a_whole_video(model: Path, camvid: list[Frame], tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    with MjpegServer(camvid * 4000) as camera:
        process = started(camera.address, model, folder)
        while not list(folder.iterdir()):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(0.5)  # into the middle of it
        process.send_signal(getattr(signal, settings()["KillSignal"]))
        process.communicate(timeout=60)
    assert str(process.returncode) == settings()["SuccessExitStatus"]
    with VideoSource(str(only_video(folder))) as video:
        assert sum(1 for _ in video) >= 1


@pytest.mark.parametrize("name", ["User", "StateDirectory", "MemoryMax", "EnvironmentFile"])
def test_it_is_confined(name: str) -> None:
    assert settings()[name]
