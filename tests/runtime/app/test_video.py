"""Videos in, videos out: rate, size, count and duration are kept, whatever comes between."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.app.overlay import colour
from runtime.app.video import VideoOptions, segment_to_folder, segment_to_video
from runtime.app.video_source import Patience, TimedFrame, VideoSource
from runtime.errors import InputError, SourceLost
from runtime.onnx.session import OnnxSession
from runtime.segmenter import Segmenter
from tools.cameras.mjpeg_server import INTERVAL_S, MjpegServer

Frame = NDArray[np.uint8]
FRAMES = VideoOptions(limit=20, quiet=True)
ALL = VideoOptions(quiet=True)


@pytest.fixture
def drive(samples: Path) -> Path:
    """101 frames of 480x360 at 15 frames per second."""
    return samples / "camvid_val_0016E5_15fps.mp4"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT interrupts, even where the tests were started in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def facts(path: Path) -> tuple[float, int, int, int]:
    """Rate, width, height, and the number of frames that can in fact be decoded."""
    with VideoSource(str(path)) as source:
        frames = [timed.frame for timed in source]
    height, width = frames[0].shape[:2]
    return source.fps, width, height, len(frames)


def render(frame: Frame, mask: Frame) -> Frame:
    assert mask.shape == frame.shape[:2]
    return colour(mask, [(0, 0, 255), (0, 255, 0), (255, 0, 0)])


def pipeline_threads() -> list[str]:
    names = ("ahead", "behind", "segmenter")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(names)]


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi"])
def test_a_video_keeps_rate_size_and_count(
    segmenter: Segmenter, drive: Path, tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"out{ending}"
    with VideoSource(str(drive)) as source:
        outcome = segment_to_video(segmenter, source, output, render, FRAMES)
    assert (outcome.frames, outcome.dropped, outcome.stopped) == (20, 0, None)
    assert facts(output) == (15.0, 480, 360, 20)
    assert list(tmp_path.glob(".*")) == []
    assert pipeline_threads() == []


def test_the_masks_belong_to_their_frames(
    segmenter: Segmenter, drive: Path, tmp_path: Path
) -> None:
    shown: list[tuple[Frame, Frame]] = []

    def remember(frame: Frame, mask: Frame) -> Frame:
        shown.append((frame, mask))
        return frame

    with VideoSource(str(drive)) as source:
        segment_to_video(segmenter, source, tmp_path / "out.mp4", remember, FRAMES)
    with VideoSource(str(drive)) as source:
        for (frame, mask), original in zip(shown, source, strict=False):
            np.testing.assert_array_equal(frame, original.frame)
            np.testing.assert_array_equal(mask, original.frame.argmax(2))


def test_a_video_with_broken_frames_lasts_as_long_as_before(
    segmenter: Segmenter, drive: Path, tmp_path: Path
) -> None:
    content = bytearray(drive.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 60_000] = np.random.default_rng(3).bytes(60_000)
    damaged, output = tmp_path / "damaged.mp4", tmp_path / "out.mp4"
    damaged.write_bytes(content)
    with VideoSource(str(damaged), report=lambda _: None) as source:
        outcome = segment_to_video(segmenter, source, output, lambda frame, _: frame, ALL)
    assert outcome.frames < 101
    assert facts(output) == (15.0, 480, 360, 101)


def test_frames_into_a_folder_are_numbered(
    segmenter: Segmenter, drive: Path, tmp_path: Path
) -> None:
    written: list[tuple[str, Frame]] = []
    with VideoSource(str(drive)) as source:
        outcome = segment_to_folder(
            segmenter,
            source,
            tmp_path / "masks",
            lambda path, _, mask: written.append((path.name, mask)),
            VideoOptions(limit=3, quiet=True),
        )
    assert outcome.frames == 3
    assert [name for name, _ in written] == ["000000.png", "000001.png", "000002.png"]


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_leaves_the_frames_before_it(
    segmenter: Segmenter, drive: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    calls = 0

    def interrupting(frame: Frame, _: Frame) -> Frame:
        nonlocal calls
        calls += 1
        if calls == 8:
            signal.raise_signal(signal.SIGINT)  # Python runs its handler in the main thread
        time.sleep(0.005)
        return frame

    with VideoSource(str(drive)) as source:
        outcome = segment_to_video(segmenter, source, output, interrupting, ALL)
    assert isinstance(outcome.stopped, KeyboardInterrupt)
    assert 8 <= outcome.frames < 101
    assert facts(output) == (15.0, 480, 360, outcome.frames)
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["out.mp4"]
    assert pipeline_threads() == []


def test_an_error_leaves_no_half_video(segmenter: Segmenter, drive: Path, tmp_path: Path) -> None:
    def failing(_frame: Frame, _mask: Frame) -> Frame:
        raise InputError("no more")

    with VideoSource(str(drive)) as source, pytest.raises(InputError, match="no more"):
        segment_to_video(segmenter, source, tmp_path / "out.mp4", failing, FRAMES)
    assert {path.suffix for path in tmp_path.iterdir()} == {".onnx"}
    assert pipeline_threads() == []


def test_an_unknown_ending_is_refused(segmenter: Segmenter, drive: Path, tmp_path: Path) -> None:
    with (
        VideoSource(str(drive)) as source,
        pytest.raises(InputError, match=r"expected one of \.mp4"),
    ):
        segment_to_video(segmenter, source, tmp_path / "out.gif", render, FRAMES)


def test_a_camera_lost_for_good_leaves_what_it_showed(
    segmenter: Segmenter, camvid: list[Frame], tmp_path: Path
) -> None:
    output = tmp_path / "out.avi"
    with (
        MjpegServer(camvid) as camera,
        VideoSource(camera.address, Patience(reconnect_s=0)) as source,
    ):
        outcome = segment_to_video(segmenter, source, output, render, ALL)
    assert isinstance(outcome.stopped, SourceLost)
    assert outcome.frames + outcome.dropped == len(camvid)
    assert facts(output)[:3] == (25.0, 480, 360)


class SlowSession:
    """A network that takes longer than the camera's frames come."""

    def __init__(self, session: OnnxSession, seconds: float) -> None:
        self._session, self._seconds = session, seconds

    def __call__(self, frames: Frame, out: Frame | None = None) -> Frame:
        time.sleep(self._seconds)
        return self._session(frames, out)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


class TimedSource(VideoSource):
    """Remembers when its last frame came."""

    last_s = 0.0

    def __iter__(self) -> Iterator[TimedFrame]:
        for timed in super().__iter__():
            self.last_s = timed.seconds
            yield timed


def test_a_slow_network_sees_a_live_sources_newest_frames(
    model: Path, camvid: list[Frame], tmp_path: Path
) -> None:
    shown: list[Frame] = []
    output = tmp_path / "out.avi"
    slow: Any = SlowSession(OnnxSession.open(model), 5 * INTERVAL_S)
    with (
        MjpegServer(camvid * 8) as camera,
        TimedSource(camera.address, Patience(reconnect_s=0)) as source,
        Segmenter(slow) as segmenter,
    ):
        outcome = segment_to_video(
            segmenter, source, output, lambda frame, _: (shown.append(frame), frame)[1], ALL
        )
    assert outcome.frames + outcome.dropped == 8 * len(camvid)
    assert outcome.dropped > 0
    assert np.abs(shown[-1].astype(int) - camvid[-1]).mean() < 8  # the last is never dropped
    # What was dropped is no time lost: the video lasts as long as the camera showed.
    rate, *_, frames = facts(output)
    assert (frames - 1) / rate == pytest.approx(source.last_s, abs=2 / rate)
