"""Videos in, videos out: rate, size and count are kept, and an interruption leaves a whole file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.errors import InputError
from runtime.overlay import colour
from runtime.segmenter import Segmenter
from runtime.video import VideoOptions, VideoSource, segment_video

Frame = NDArray[np.uint8]
FRAMES = VideoOptions(limit=20, quiet=True)


@pytest.fixture
def drive(samples: Path) -> Path:
    """101 frames of 480x360 at 15 frames per second."""
    return samples / "camvid_val_0016E5_15fps.mp4"


def facts(path: Path) -> tuple[float, int, int, int]:
    """Rate, width, height, and the number of frames that can in fact be decoded."""
    with VideoSource(str(path)) as source:
        frames = list(source)
    height, width = frames[0].shape[:2]
    return source.fps, width, height, len(frames)


def render(frame: Frame, mask: Frame) -> Frame:
    assert mask.shape == frame.shape[:2]
    return colour(mask, [(0, 0, 255), (0, 255, 0), (255, 0, 0)])


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi"])
def test_a_video_keeps_rate_size_and_count(
    segmenter: Segmenter, drive: Path, tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"out{ending}"
    with VideoSource(str(drive)) as source:
        assert (source.fps, source.frame_count) == (15.0, 101)
        assert segment_video(segmenter, source, output, render, FRAMES) == 20
    assert facts(output) == (15.0, 480, 360, 20)
    assert list(tmp_path.glob(".*")) == []


def test_the_masks_belong_to_their_frames(
    segmenter: Segmenter, drive: Path, tmp_path: Path
) -> None:
    shown: list[tuple[Frame, Frame]] = []

    def remember(frame: Frame, mask: Frame) -> Frame:
        shown.append((frame, mask))
        return frame

    with VideoSource(str(drive)) as source:
        segment_video(segmenter, source, tmp_path / "out.mp4", remember, FRAMES)
    with VideoSource(str(drive)) as source:
        for (frame, mask), original in zip(shown, source, strict=False):
            np.testing.assert_array_equal(frame, original)
            np.testing.assert_array_equal(mask, original.argmax(2))


def test_an_odd_size_grows_by_one_pixel(segmenter: Segmenter, drive: Path, tmp_path: Path) -> None:
    with VideoSource(str(drive)) as source:
        output = tmp_path / "out.mp4"
        options = VideoOptions(limit=3, quiet=True)
        segment_video(segmenter, source, output, lambda frame, _: frame[1:, 1:], options)
    assert facts(output) == (15.0, 480, 360, 3)


def test_an_interruption_leaves_the_frames_before_it(
    segmenter: Segmenter, drive: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    calls = 0

    def interrupted(frame: Frame, _: Frame) -> Frame:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return frame

    with VideoSource(str(drive)) as source, pytest.raises(KeyboardInterrupt):
        segment_video(segmenter, source, output, interrupted, FRAMES)
    assert facts(output) == (15.0, 480, 360, 7)
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["out.mp4"]


def test_an_error_leaves_no_half_video(segmenter: Segmenter, drive: Path, tmp_path: Path) -> None:
    def failing(_frame: Frame, _mask: Frame) -> Frame:
        raise InputError("no more")

    with VideoSource(str(drive)) as source, pytest.raises(InputError, match="no more"):
        segment_video(segmenter, source, tmp_path / "out.mp4", failing, FRAMES)
    assert {path.suffix for path in tmp_path.iterdir()} == {".onnx"}


@pytest.mark.parametrize("content", [b"just some text\n", b""])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"not a video file that OpenCV can open|is empty"):
        VideoSource(str(path))


def test_a_missing_camera_is_refused_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="63 is not a camera or stream"):
        VideoSource("63")
    assert capfd.readouterr().err == ""


def test_an_unknown_ending_is_refused(segmenter: Segmenter, drive: Path, tmp_path: Path) -> None:
    with (
        VideoSource(str(drive)) as source,
        pytest.raises(InputError, match=r"expected one of \.mp4"),
    ):
        segment_video(segmenter, source, tmp_path / "out.gif", render, FRAMES)


def test_opencv_says_as_much_as_before(drive: Path) -> None:
    before = cv2.utils.logging.getLogLevel()
    VideoSource(str(drive)).close()
    assert cv2.utils.logging.getLogLevel() == before
