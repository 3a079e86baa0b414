"""The soak test finds what grows, what is lost and what is wrong, and passes what is in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.segmenter import Segmenter
from tools.endurance import (
    Sample,
    Soak,
    Video,
    growth,
    load_soak,
    stream_soak,
    video_frames,
)
from tools.soak import judge, main

Frame = NDArray[np.uint8]
SHOWN = 5  # frames of the video before it begins anew
FPS = 20.0


@pytest.fixture
def drive(shared: Path) -> Path:
    return shared / "data/samples/camvid_val_0016E5_15fps.mp4"


@pytest.fixture
def video(drive: Path) -> Video:
    return partial(video_frames, drive, SHOWN)


@pytest.fixture
def segmenter(model: Path) -> Iterator[Segmenter]:
    with Segmenter.open(model, threads=1) as opened:
        yield opened


class Altered(Segmenter):
    """A Segmenter whose stream goes through `alter`."""

    def __init__(self, segmenter: Segmenter, alter: Any) -> None:
        super().__init__(segmenter._session)
        self._alter = alter

    def stream(self, frames: Iterable[Any], *, latest: bool = False) -> Any:
        masks = super().stream(frames, latest=latest)

        def altered() -> Iterator[Frame]:
            with closing(masks):
                yield from self._alter(masks)

        return altered()


def failures(segmenter: Segmenter, video: Video, seconds: float = 1.0) -> str:
    return "; ".join(judge(stream_soak(segmenter, video, seconds, FPS)).failures)


def test_a_sound_stream_passes(segmenter: Segmenter, video: Video) -> None:
    soak = stream_soak(segmenter, video, 1.0, FPS)
    assert judge(soak).failures == ()
    assert soak.frames_in == soak.frames_out > 1
    assert soak.samples[-1].done == soak.frames_out


def test_kept_memory_is_found(segmenter: Segmenter, video: Video) -> None:
    kept: list[Frame] = []

    def keeping(masks: Iterator[Frame]) -> Iterator[Frame]:
        for mask in masks:
            kept.append(np.ones((2**25,), np.uint8))  # few frames come on a busy machine
            yield mask

    assert "host memory grew by" in failures(Altered(segmenter, keeping), video, 2.0)


def test_files_left_open_are_found(segmenter: Segmenter, drive: Path) -> None:
    with ExitStack() as opened:

        def careless() -> Iterator[Frame]:
            opened.enter_context(drive.open("rb"))
            return video_frames(drive, 1)

        assert "open files more" in failures(segmenter, careless)


def swapped(masks: Iterator[Frame]) -> Iterator[Frame]:
    for first in masks:
        yield from (*(second for second in [next(masks, None)] if second is not None), first)


def doubled(masks: Iterator[Frame]) -> Iterator[Frame]:
    for number, mask in enumerate(masks):
        yield mask
        if number == 2:
            yield mask


@pytest.mark.parametrize(
    ("alter", "message"), [(swapped, "are not those of their frames"), (doubled, "masks came out")]
)
def test_masks_out_of_order_and_doubled_are_found(
    segmenter: Segmenter, video: Video, alter: Any, message: str
) -> None:
    assert message in failures(Altered(segmenter, alter), video, 0.6)


def test_loads_that_close_what_they_open_pass(model: Path, video: Video) -> None:
    opened = partial(Segmenter.open, model, threads=1)
    soak = load_soak(opened, next(video()), 20)
    assert judge(soak).failures == ()
    assert [sample.done for sample in soak.samples] == [*range(1, 21), 20]


def test_a_model_that_is_never_closed_is_found(model: Path, video: Video) -> None:
    never_closed: list[Segmenter] = []

    class Forgotten(Segmenter):
        def close(self) -> None:
            never_closed.append(self)

    # Two threads for each session: one of its own beside the caller's.
    soak = load_soak(partial(Forgotten.open, model, threads=2), next(video()), 12)
    assert any("threads more" in failure for failure in judge(soak).failures)
    for segmenter in never_closed:
        Segmenter.close(segmenter)


def test_growth_is_what_comes_after_the_start() -> None:
    assert growth([0, 50, 100, 100, 100, 100, 100, 100]) == 0
    assert growth([float(value) for value in range(80)]) == 40


def test_gpu_memory_is_judged_too() -> None:
    samples = tuple(Sample(i, i, 2**30, 4, 9, 2**20 * i) for i in range(100))
    assert judge(Soak(samples, 100, 100, 0)).failures == ("GPU memory grew by 50.0 MiB",)


@pytest.mark.slow
def test_twenty_seconds_of_video_grow_nothing(model: Path, drive: Path, tmp_path: Path) -> None:
    record = tmp_path / "soak.json"
    length = ("--minutes", "0.34", "--fps", "25", "--threads", "1", "--json", str(record))
    assert main([str(drive), "--model", str(model), *length]) == 0
    content = json.loads(record.read_text())
    assert content["verdict"]["failures"] == []
    assert content["frames_in"] == content["frames_out"] > 60
    assert content["samples"][-1]["seconds"] > 20


def test_what_cannot_be_run_is_one_line(
    model: Path, drive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, given = str(drive), ("--model", str(model))
    for arguments, message in (
        ((video, *given), "--minutes --loads"),
        ((video, *given, "--minutes", "0"), "--minutes"),
        ((str(tmp_path / "none.mp4"), *given, "--loads", "1"), "none.mp4"),
        ((video, "--model", str(drive), "--loads", "1"), ".onnx"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
