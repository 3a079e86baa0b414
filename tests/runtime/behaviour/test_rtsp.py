"""RTSP cameras: frames arrive as sent; a camera that dies, stalls or stays away is noticed."""

from __future__ import annotations

import re
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from refinenet.__main__ import main
from runtime.app.overlay import colour
from runtime.app.video_source import Patience, TimedFrame, VideoSource
from runtime.errors import InputError, SourceLost
from tools.cameras.rtsp_server import INTERVAL_S, RtspServer, coded_picture

Frame = NDArray[np.uint8]
FAST = Patience(reconnect_s=10, stall_s=1.0)
CALM = Patience(reconnect_s=10)  # where nothing stalls, but the machine may be busy
JPEG_LOSS = 4  # grey levels, on average


@pytest.fixture
def clip(samples: Path) -> list[Frame]:
    """Twenty frames of a drive, a third of a second apart."""
    with VideoSource(str(samples / "camvid_val_0016E5_15fps.mp4")) as source:
        return [timed.frame for timed in source][::5][:20]


def assert_same(shown: list[TimedFrame], sent: list[Frame]) -> None:
    """Each is the one that was sent in its place, and no other."""
    for place, (timed, original) in enumerate(zip(shown, sent, strict=True)):
        assert np.abs(timed.frame.astype(int) - original).mean() < JPEG_LOSS
        rows = timed.frame[::8, ::8].astype(int)  # enough to tell two frames apart
        distances = [np.abs(rows - frame[::8, ::8]).mean() for frame in sent]
        assert int(np.argmin(distances)) == place


def test_the_frames_that_a_camera_sends_arrive(clip: list[Frame]) -> None:
    with RtspServer(clip) as camera, VideoSource(camera.address, CALM) as source:
        assert (source.is_live, source.frame_count) == (True, None)
        frames = iter(source)
        shown = [next(frames) for _ in clip]
    assert_same(shown, clip)
    assert [timed.index for timed in shown] == list(range(len(clip)))


def test_a_camera_that_dies_and_comes_back_is_found_again(clip: list[Frame]) -> None:
    reports: list[str] = []
    with RtspServer(clip) as camera:
        source = VideoSource(camera.address, CALM, reports.append)
        frames = iter(source)
        first = [next(frames) for _ in clip]
    servers: list[RtspServer] = []
    back = threading.Timer(0.3, lambda: servers.append(RtspServer(clip, camera.port)))
    back.start()
    second = [next(frames) for _ in clip]
    with servers[0], source:
        source.stop()
    assert_same(first, clip)
    assert_same(second, clip)
    assert [timed.index for timed in [*first, *second]] == list(range(2 * len(clip)))
    assert second[0].seconds - first[-1].seconds > 0.3
    assert len(reports) == 2
    assert reports[0].endswith(" 10 s")
    assert re.search(r" \d+\.\d s$", reports[1])


def test_a_camera_that_falls_silent_is_connected_again(clip: list[Frame]) -> None:
    reports: list[str] = []
    with (
        RtspServer(clip, stall_s=30) as camera,
        VideoSource(camera.address, FAST, reports.append) as source,
    ):
        frames = iter(source)
        first = [next(frames) for _ in clip]
        silent = time.monotonic()
        second = [next(frames) for _ in clip]
        waited_s = time.monotonic() - silent
    assert_same(first, clip)
    assert_same(second, clip)
    assert FAST.stall_s <= waited_s < 20  # and not the 30 s of silence
    assert re.search(r" \d+\.\d s$", reports[1])


def test_a_camera_that_stays_away_is_lost(clip: list[Frame]) -> None:
    with RtspServer(clip) as camera:
        source = VideoSource(camera.address, Patience(reconnect_s=1), lambda _: None)
        frames = iter(source)
        shown = [next(frames) for _ in clip]
    started = time.monotonic()
    with source, pytest.raises(SourceLost, match=r"\b1 s\b.*--reconnect SECONDS"):
        next(frames)
    assert 1 <= time.monotonic() - started < 20
    assert_same(shown, clip)


def test_a_camera_that_never_sends_is_lost() -> None:
    patience = Patience(reconnect_s=1, stall_s=1)
    with (
        RtspServer([], stall_s=30) as camera,
        VideoSource(camera.address, patience, lambda _: None) as source,
        pytest.raises(SourceLost, match=r"\b1 s\b.*--reconnect SECONDS"),
    ):
        next(iter(source))


def test_what_accepts_a_connection_and_never_answers_is_no_camera() -> None:
    started = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(InputError, match=r"^rtsp://127\S+/live .*OpenCV"),
    ):
        VideoSource(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/live", FAST)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("stall_s", [0, 30])
def test_a_recording_that_ends_early_or_falls_silent_is_said(
    clip: list[Frame], stall_s: float
) -> None:
    reports: list[str] = []
    with (
        RtspServer(clip, stall_s=stall_s, recording_s=60) as recorder,
        VideoSource(recorder.address, FAST, reports.append) as source,
    ):
        assert not source.is_live
        shown = list(source)  # not each of the missing frames is waited for
    assert_same(shown, clip)
    assert len(reports) == 1
    expected = "fell silent for 3 s at frame 20" if stall_s else "can be decoded from frame 20 on"
    assert expected in reports[0]


def test_a_recording_that_came_whole_is_whole_though_the_server_hangs_on(clip: list[Frame]) -> None:
    reports: list[str] = []
    length_s = len(clip) * INTERVAL_S
    with (
        RtspServer(clip, stall_s=30, recording_s=length_s) as recorder,
        VideoSource(recorder.address, FAST, reports.append) as source,
    ):
        assert source.frame_count is not None
        assert source.frame_count <= len(clip)
        assert_same(list(source), clip)
    assert reports == []


def test_segment_of_a_camera_gives_a_video_of_its_masks(
    model: Path, clip: list[Frame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    # Of one picture, since a live source drops what is not taken in time.
    with RtspServer([clip[0]] * 400) as camera:
        arguments = ("segment", camera.address, "--model", model, "--output", output)
        assert main([*map(str, arguments), "--frames", "10"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{output}: 10 frames")
    assert captured.err == ""
    with VideoSource(str(output)) as video:
        masks = [timed.frame for timed in video]
    assert masks
    expected = colour(clip[0].argmax(2).astype(np.uint8), [(0, 0, 255), (0, 255, 0), (255, 0, 0)])
    assert np.abs(masks[-1].astype(int) - expected).mean() < 15  # coded twice


def test_segment_of_a_camera_that_dies_leaves_its_video_and_is_exit_2(
    model: Path, clip: list[Frame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    with RtspServer(clip) as camera:
        arguments = ("segment", camera.address, "--model", model, "--output", output)
        assert main([*map(str, arguments), "--reconnect", "0"]) == 2
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{output}: ")
    assert f"SourceLost: {camera.address} " in captured.err
    assert captured.err.count("\n") == 1
    with VideoSource(str(output)) as video:
        assert len(list(video)) == video.frame_count


def test_the_camera_refuses_sizes_that_its_format_cannot_state(street: Frame) -> None:
    with pytest.raises(ValueError, match="1226x370; expected multiples of 8"):
        coded_picture(street)
