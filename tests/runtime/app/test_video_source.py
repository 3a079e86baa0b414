"""Sources: broken frames are skipped, live sources that die or stall are found again."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.app.video_source import Patience, TimedFrame, VideoSource, to_bgr
from runtime.errors import InputError, SourceLost
from runtime.overlap import Ahead
from tools.cameras.mjpeg_server import MjpegServer

Frame = NDArray[np.uint8]
FAST = Patience(reconnect_s=1.5, stall_s=1.0)


@pytest.fixture
def drive(samples: Path) -> Path:
    """101 frames of 480x360 at 15 frames per second."""
    return samples / "camvid_val_0016E5_15fps.mp4"


@pytest.fixture
def damaged(drive: Path, tmp_path: Path) -> Path:
    """The same file with 60 kB of noise in its middle: two of its frames cannot be decoded."""
    content = bytearray(drive.read_bytes())
    middle = len(content) // 2
    noise = np.random.default_rng(3).integers(0, 256, 60_000, np.uint8)
    content[middle : middle + noise.size] = noise.tobytes()
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    return path


def lost_after(source: VideoSource) -> list[TimedFrame]:
    """The frames of a live source until it is lost."""
    frames: list[TimedFrame] = []
    with pytest.raises(SourceLost):
        frames.extend(source)
    return frames


def test_a_file_says_what_it_holds(drive: Path) -> None:
    with VideoSource(str(drive)) as source:
        assert (source.fps, source.frame_count, source.is_live) == (15.0, 101, False)
        frames = list(source)
    assert [timed.index for timed in frames] == list(range(101))
    np.testing.assert_allclose([timed.seconds for timed in frames], np.arange(101) / 15, atol=1e-3)
    assert frames[0].frame.shape == (360, 480, 3)


def test_broken_frames_in_the_middle_are_reported_and_skipped(drive: Path, damaged: Path) -> None:
    reports: list[str] = []
    with VideoSource(str(damaged), report=reports.append) as source:
        frames = list(source)
    with VideoSource(str(drive)) as source:
        whole = list(source)
    assert reports == [f"{damaged}: frames 59 to 60 are broken and were skipped"]
    assert [timed.index for timed in frames] == [*range(59), *range(61, 101)]
    assert frames[59].seconds == pytest.approx(61 / 15, abs=1e-3)
    np.testing.assert_array_equal(frames[0].frame, whole[0].frame)


def test_a_file_cut_short_gives_what_it_has_and_says_so(samples: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes((samples / "car-detection.mp4").read_bytes()[:200_000])
    reports: list[str] = []
    with VideoSource(str(cut), report=reports.append) as source:
        assert len(list(source)) == 22
    assert len(reports) == 1
    assert "promises 377 frames and none can be decoded from frame 22 on" in reports[0]


def test_a_whole_file_reports_nothing(drive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with VideoSource(str(drive)) as source:
        assert sum(1 for _ in source) == 101
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"just some text\n", b""])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"clip\.mp4"):
        VideoSource(str(path))


@pytest.mark.parametrize("address", ["63", "videotestsrc ! nosuchelement ! appsink"])
def test_a_missing_camera_is_refused_quietly(
    address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=f"^{address} .*(OpenCV|GStreamer)"):
        VideoSource(address, FAST)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://admin:secret@127.0.0.1:9/video", "http://***@127.0.0.1:9/video"),
        ("http://admin:se@secret@127.0.0.1:9/video", "http://***@127.0.0.1:9/video"),
        ("nosrc user-id=me user-pw=secret ! appsink", "nosrc user-id=me user-pw=*** ! appsink"),
        ('nosrc password="my secret" ! appsink', "nosrc password=*** ! appsink"),
    ],
)
def test_a_password_in_the_address_is_not_shown(address: str, shown: str) -> None:
    with pytest.raises(InputError) as caught:
        VideoSource(address, FAST)
    assert "secret" not in str(caught.value)
    assert shown in str(caught.value)


def test_opencv_says_as_much_as_before(drive: Path) -> None:
    before = cv2.utils.logging.getLogLevel()
    VideoSource(str(drive)).close()
    assert cv2.utils.logging.getLogLevel() == before


def test_a_camera_that_dies_and_comes_back_goes_on(camvid: list[Frame]) -> None:
    reports: list[str] = []
    with MjpegServer(camvid) as camera:
        source = VideoSource(camera.address, FAST, reports.append)
        assert source.is_live
        frames = iter(source)
        first = [next(frames) for _ in camvid]
    back = threading.Timer(0.3, lambda: servers.append(MjpegServer(camvid, camera.port)))
    servers: list[MjpegServer] = []
    back.start()
    second = [next(frames) for _ in camvid]
    with servers[0], source:
        source.stop()
    assert [timed.index for timed in [*first, *second]] == list(range(12))
    assert second[0].seconds - first[-1].seconds > 0.3
    for timed, original in zip(second, camvid, strict=True):
        assert np.abs(timed.frame.astype(int) - original).mean() < 8  # JPEG
    assert len(reports) == 2
    assert reports[0].endswith(" 1.5 s")
    assert re.search(r" \d+\.\d s$", reports[1])


def test_a_camera_that_stays_away_is_lost(camvid: list[Frame]) -> None:
    with MjpegServer(camvid) as camera:
        source = VideoSource(camera.address, FAST, lambda _: None)
        frames = iter(source)
        for _ in camvid:
            next(frames)
    started = time.monotonic()
    with source, pytest.raises(SourceLost, match=r"\b1\.5 s\b.*--reconnect SECONDS"):
        next(frames)
    assert 1.5 <= time.monotonic() - started < 20


def test_without_patience_a_dead_camera_is_lost_at_once(camvid: list[Frame]) -> None:
    reports: list[str] = []
    with (
        MjpegServer(camvid) as camera,
        VideoSource(camera.address, Patience(reconnect_s=0), reports.append) as source,
    ):
        assert len(lost_after(source)) == len(camvid)
    assert reports == []


def test_a_camera_that_falls_silent_is_connected_again(camvid: list[Frame]) -> None:
    reports: list[str] = []
    with (
        MjpegServer(camvid, stall_s=30) as camera,
        VideoSource(camera.address, FAST, reports.append) as source,
    ):
        frames = iter(source)
        started = time.monotonic()
        assert len([next(frames) for _ in range(2 * len(camvid))]) == 12
        assert time.monotonic() - started < 20  # and not the 30 s of silence
    assert re.search(r" \d+\.\d s$", reports[1])


def test_stopping_does_not_wait_for_a_camera_that_is_away(camvid: list[Frame]) -> None:
    with MjpegServer(camvid) as camera:
        source = VideoSource(camera.address, Patience(reconnect_s=60), lambda _: None)
        ahead = Ahead(source, 1, newest=True)
        time.sleep(0.5)
    started = time.monotonic()
    source.stop()
    ahead.close()
    source.close()
    assert time.monotonic() - started < 20  # and not the minute of patience


def test_what_a_hardware_decoder_gives_becomes_bgr(street: Frame) -> None:
    street = street[:368, :1224]  # colour is stored for blocks of two by two pixels
    height, width = street.shape[:2]
    planes = cv2.cvtColor(street, cv2.COLOR_BGR2YUV_I420)
    luma = planes[:height]
    blue, red = planes[height:].reshape(2, height // 2, width // 2)
    nv12 = np.vstack((luma, np.stack((blue, red), axis=2).reshape(height // 2, width)))
    for picture, layout in ((nv12, "NV12"), (planes, "I420")):
        frame = to_bgr(picture, layout)
        assert frame.shape == street.shape
        assert np.abs(frame.astype(int) - street).mean() < 8  # half the colour resolution
    grey = cv2.cvtColor(street, cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(to_bgr(grey)[..., 1], grey)
    np.testing.assert_array_equal(to_bgr(cv2.cvtColor(street, cv2.COLOR_BGR2BGRA)), street)
    assert to_bgr(street) is street
