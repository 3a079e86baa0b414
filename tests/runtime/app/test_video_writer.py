"""A written video lasts as long as what it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.app.video_source import VideoSource
from runtime.app.video_writer import VideoFile
from runtime.errors import InputError

Frame = NDArray[np.uint8]
SIZE = (48, 64, 3)


def grey(level: int, size: tuple[int, int, int] = SIZE) -> Frame:
    return np.full(size, level, np.uint8)


def levels(path: Path) -> list[int]:
    """The brightness of every frame, to the nearest ten."""
    with VideoSource(str(path)) as source:
        assert source.fps == 10
        return [round(float(timed.frame.mean()), -1) for timed in source]


def written(path: Path, times: list[float], longest_still_s: float = 60.0) -> list[int]:
    """What a video shows whose pictures of 10, 20, 30 … came at these times, in seconds."""
    with VideoFile(path, 10, longest_still_s) as video:
        for number, seconds in enumerate(times, start=1):
            video.write(seconds, grey(10 * number))
    return levels(path)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".mov", ".avi"])
def test_pictures_at_the_rate_are_shown_once(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    assert written(path, [0.0, 0.1, 0.2, 0.3]) == [10, 20, 30, 40]


def test_a_picture_is_shown_until_the_next_one(tmp_path: Path) -> None:
    assert written(tmp_path / "out.avi", [5.0, 5.1, 5.4, 5.5]) == [10, 20, 20, 20, 30, 40]


def test_a_cameras_uneven_intervals_neither_repeat_nor_lose_a_picture(tmp_path: Path) -> None:
    times = [0.0, 0.14, 0.16, 0.34, 0.36, 0.54]  # around every 0.1 s
    assert written(tmp_path / "out.avi", times) == [10, 20, 30, 40, 50, 60]


def test_pictures_faster_than_the_rate_are_left_out(tmp_path: Path) -> None:
    times = [0.02 * number for number in range(20)]
    assert len(written(tmp_path / "out.avi", times)) in (4, 5, 6)


def test_a_long_absence_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    assert written(path, [0.0, 0.1, 3600.0, 3600.1], longest_still_s=1.0) == [10, 20, 30, 40]


def test_a_picture_of_another_size_is_resized(tmp_path: Path) -> None:
    path = tmp_path / "out.avi"
    with VideoFile(path, 10) as video:
        video.write(0.0, grey(50))
        video.write(0.1, grey(100, (96, 96, 3)))
    assert levels(path) == [50, 100]


def test_an_odd_size_grows_by_one_pixel(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with VideoFile(path, 10) as video:
        video.write(0.0, grey(50, (47, 63, 3)))
    with VideoSource(str(path)) as source:
        assert next(iter(source)).frame.shape == SIZE


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with (
        VideoFile(tmp_path / "none/out.mp4", 10) as video,
        pytest.raises(InputError, match=r"cannot write a \.mp4 video"),
    ):
        video.write(0.0, grey(50))
