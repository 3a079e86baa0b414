"""Does a stream that runs for hours, or a model opened a thousand times, grow?

Every mask is compared with the one that its frame gave when it was segmented alone, so that a mask
lost, doubled or out of order is seen.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.host.gpu_state import device_memory
from runtime.app.video_source import VideoSource
from runtime.frames import Frame
from runtime.overlap import Ahead
from runtime.segmenter import Segmenter

SAMPLES = 120  # in a run
AHEAD = 4  # frames decoded ahead of the network
PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Sample:
    """The process at one moment.

    done: frames or loads until then.
    gpu_bytes: in use by all programs; None without a GPU.
    """

    seconds: float
    done: int
    resident_bytes: int
    threads: int
    open_files: int
    gpu_bytes: int | None


@dataclass(frozen=True)
class Soak:
    """What a run showed.

    frames_in, frames_out: given to the network and got from it.
    wrong_masks: that are not those of their frames.
    """

    samples: tuple[Sample, ...]
    frames_in: int
    frames_out: int
    wrong_masks: int


class Video(Protocol):
    """Opens the video anew and gives its frames."""

    def __call__(self) -> Iterator[Frame]: ...


def video_frames(path: Path, count: int) -> Iterator[Frame]:
    """The first frames of a video, decoded by a thread of its own."""
    with VideoSource(str(path)) as source, Ahead(islice(source, count), AHEAD) as decoded:
        for timed in decoded:
            yield timed.frame


def stream_soak(segmenter: Segmenter, video: Video, seconds: float, fps: float | None) -> Soak:
    """Stream the video over and over for this long.

    fps: of the source, which waits where it is early; None does not wait.
    """
    expected = [checksum(segmenter(frame)) for frame in video()]
    endless = _Endless(video, seconds, fps)
    frames_out = wrong = 0
    record = _Recording(seconds / SAMPLES)
    with closing(segmenter.stream(endless.frames())) as masks:
        for mask in masks:
            wrong += checksum(mask) != expected[frames_out % len(expected)]
            frames_out += 1
            record.sample(frames_out)
    return Soak(record.finished(frames_out), endless.given, frames_out, wrong)


def load_soak(open_segmenter: Callable[[], Segmenter], frame: Frame, loads: int) -> Soak:
    """Open the model, segment one frame and close it, this often."""
    with open_segmenter() as segmenter:
        expected = checksum(segmenter(frame))
    record = _Recording(0.0)
    wrong = 0
    for load in range(1, loads + 1):
        with open_segmenter() as segmenter:
            wrong += checksum(segmenter(frame)) != expected
        if load % max(1, loads // SAMPLES) == 0:
            record.sample(load)
    return Soak(record.finished(loads), loads, loads, wrong)


def checksum(mask: NDArray[np.uint8]) -> int:
    return zlib.crc32(mask.tobytes())


def growth(values: list[float]) -> float:
    """From the second quarter of a run, when everything is allocated, to the last one."""
    quarter = max(1, len(values) // 4)
    return median(values[-quarter:]) - median(values[quarter : 2 * quarter])


class _Endless:
    """The video again and again; `given` counts its frames."""

    def __init__(self, video: Video, seconds: float, fps: float | None) -> None:
        self._video, self._seconds, self._fps = video, seconds, fps
        self.given = 0

    def frames(self) -> Iterator[Frame]:
        started = time.monotonic()
        while True:
            for frame in self._video():
                if time.monotonic() - started >= self._seconds:
                    return
                self.given += 1
                yield frame
                if self._fps is not None:
                    time.sleep(max(0.0, started + self.given / self._fps - time.monotonic()))


class _Recording:
    """Samples at least `interval_s` apart."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s, self._started = interval_s, time.monotonic()
        self._samples: list[Sample] = []

    def sample(self, done: int) -> None:
        seconds = time.monotonic() - self._started
        if not self._samples or seconds - self._samples[-1].seconds >= self._interval_s:
            self._samples.append(_sample(seconds, done))

    def finished(self, done: int) -> tuple[Sample, ...]:
        last = _sample(time.monotonic() - self._started, done)
        return (*self._samples, last)


def _sample(seconds: float, done: int) -> Sample:
    status = dict(
        line.split(":", 1) for line in (PROCESS / "status").read_text("ascii").splitlines()
    )
    return Sample(
        seconds=round(seconds, 3),
        done=done,
        resident_bytes=1024 * int(status["VmRSS"].split()[0]),
        threads=int(status["Threads"]),
        open_files=len(list((PROCESS / "fd").iterdir())),
        gpu_bytes=device_memory(),
    )
