"""Where frames come from: a video file, a camera, a network stream, a GStreamer pipeline."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError, SourceLost
from runtime.files import existing_file
from runtime.frames import Frame, decoder_complaints

USUAL_FPS = 30.0  # many cameras do not state their rate
HIGHEST_FPS = 240.0  # some containers state their clock instead, such as 90000
UNREADABLE = 100  # reads in a row without a frame that end a file whose header gives no count
HICCUPS = 2  # failed reads in a row that a live source, and silences that a file, is forgiven
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0  # between attempts to connect
LONGEST_FRAME_S = 10.0  # a greater distance between two timestamps is taken for damage

YUV_LAYOUTS = MappingProxyType({"NV12": cv2.COLOR_YUV2BGR_NV12, "I420": cv2.COLOR_YUV2BGR_I420})

Report = Callable[[str], None]


@dataclass(frozen=True)
class TimedFrame:
    """One frame of a source.

    index: its place among all frames of the source, from 0; the broken ones count too.
    seconds: since the first frame: a file's own timestamps, for a live source the clock.
    frame: (H, W, 3) uint8 BGR, upright.
    """

    index: int
    seconds: float
    frame: Frame


@dataclass(frozen=True)
class Patience:
    """With a live source, and with a recording at a network address.

    reconnect_s: how long a live source may stay away before SourceLost; 0 does not wait at all.
    stall_s: how long to wait for a frame, or for an answer, before it counts as away; a recording
    ends after three times that.
    """

    reconnect_s: float = 60.0
    stall_s: float = 5.0


def to_stderr(message: str) -> None:
    """The usual report."""
    print(message, file=sys.stderr)


class VideoSource:
    """An opened source. Iterating gives its frames, once, from any one thread.

    A frame that cannot be decoded is reported and skipped. A live source that ends or stalls is
    opened again; frames that it sent meanwhile are lost.

    name: the address, without a password that stands in it.
    fps: frames per second, 30 where the source does not say.
    frame_count: as the file's header states it, None for a live source.
    is_live: a camera, or a stream or pipeline without an end.
    """

    def __init__(
        self, address: str, patience: Patience | None = None, report: Report = to_stderr
    ) -> None:
        """Open it.

        address: a path, a camera's index or device file, an address such as rtsp://host/stream, or
        a GStreamer pipeline that ends in appsink.
        report: is told in one line of what was skipped, lost and found again; from any thread.

        Raises InputError if OpenCV cannot open it.
        """
        self.name = _without_password(address)
        self._address, self._patience, self._report = address, patience or Patience(), report
        self._layout = _layout(address)
        self._stopped = threading.Event()
        endless = is_camera(address) or is_stream(address)
        if not endless:
            existing_file(address)
        self._capture = _opened(address, self._patience)
        if not self._capture.isOpened():
            raise InputError(f"{self.name} is not a {_expected(address)}")
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 0 < fps <= HIGHEST_FPS else USUAL_FPS
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count = count if count > 0 and not is_camera(address) else None
        self.is_live = endless and self.frame_count is None

    def __iter__(self) -> Iterator[TimedFrame]:
        """Every frame that can be decoded; SourceLost if a live source stays away."""
        return self._live_frames() if self.is_live else self._file_frames()

    def _file_frames(self) -> Iterator[TimedFrame]:
        index = broken = silences = 0
        seconds = 0.0
        while not self._stopped.is_set():
            frame, stalled = self._awaited()
            if stalled and self.frame_count is not None and index >= self.frame_count:
                break  # all of it came, and the server keeps the connection open
            if frame is None and stalled:
                # A server that holds the file's rest back: each further read takes as long.
                silences += 1
                if silences > HICCUPS:
                    break
                continue
            silences = 0
            if frame is None:
                # The end looks like a broken frame; only the header knows whether more must come.
                broken += 1
                if broken > max((self.frame_count or 0) - index, UNREADABLE):
                    break
                continue
            if broken:
                self._report(f"{self.name}: {_broken(index, broken)}")
            index += broken
            seconds = self._file_seconds(seconds, broken + 1) if index else 0.0
            yield TimedFrame(index, seconds, frame)
            index, broken = index + 1, 0
        if silences > HICCUPS:
            self._report(
                f"{self.name} fell silent for {silences * self._patience.stall_s:g} s at frame "
                f"{index}, before its end; what came until then is all"
            )
        elif self.frame_count is not None and index < self.frame_count and broken:
            self._report(
                f"{self.name}: its header promises {self.frame_count} frames and none can be "
                f"decoded from frame {index} on: it may be cut short"
            )

    def _file_seconds(self, before: float, frames: int) -> float:
        """The position in the file; by the rate where it has no timestamps or wrong ones."""
        stated = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        plausible = before < stated < before + frames * LONGEST_FRAME_S
        return stated if plausible else before + frames / self.fps

    def _live_frames(self) -> Iterator[TimedFrame]:
        started: float | None = None
        index = failed = 0
        while not self._stopped.is_set():
            frame, stalled = self._awaited()
            if frame is None:
                failed += 1
                if failed <= HICCUPS and not stalled:
                    continue
                frame = self._found_again()
            elif failed:
                self._report(f"{self.name}: {_broken(index, failed)}")
                index += failed
            if frame is None:
                return
            failed = 0
            now = time.monotonic()
            started = now if started is None else started
            yield TimedFrame(index, now - started, frame)
            index += 1

    def _found_again(self) -> Frame | None:
        """The first frame after an outage; None after stop(). SourceLost if it takes too long."""
        lost = time.monotonic()
        limit_s = self._patience.reconnect_s
        if limit_s:
            self._report(f"{self.name} gives no more frames; trying again for {limit_s:g} s")
        pause_s = FIRST_PAUSE_S
        while (left_s := lost + limit_s - time.monotonic()) > 0:
            if self._stopped.wait(min(pause_s, left_s)):
                return None
            self._capture.release()
            self._capture = _opened(self._address, self._patience)
            frame = self._read()
            if frame is not None:
                self._report(f"{self.name} is back after {time.monotonic() - lost:.1f} s")
                return frame
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        raise SourceLost(
            f"{self.name} gave no more frames and did not come back within {limit_s:g} s; "
            "check it, or wait longer with --reconnect SECONDS"
        )

    def _awaited(self) -> tuple[Frame | None, bool]:
        """The next frame, if one can be read, and whether the wait was as long as a stall."""
        asked = time.monotonic()
        frame = self._read()
        return frame, time.monotonic() - asked >= self._patience.stall_s

    def _read(self) -> Frame | None:
        whole, picture = self._capture.read()
        return to_bgr(np.asarray(picture, np.uint8), self._layout) if whole else None

    def stop(self) -> None:
        """End the iteration after the frame under way; from any thread."""
        self._stopped.set()

    def close(self) -> None:
        """Let go of the file or camera, once no iteration runs; again, it does nothing."""
        self.stop()
        self._capture.release()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def is_camera(address: str) -> bool:
    """Whether it is a camera's index (a file of that name is written ./0) or device file, such as
    /dev/video0 or a name below /dev/v4l/by-id, which stays when the camera is plugged in again."""
    return address.isdecimal() or _is_device(address)


def is_stream(address: str) -> bool:
    """Whether it is a network address or a GStreamer pipeline."""
    return "://" in address or _is_pipeline(address)


def to_bgr(picture: NDArray[np.uint8], layout: str | None = None) -> Frame:
    """A decoder's picture as a (H, W, 3) uint8 BGR frame; what is one already stays as it is.

    picture: grey, (H, W) or (H, W, 1); BGRx, (H, W, 4); or in a YUV layout (H * 3 / 2, W).
    layout: NV12 or I420 where the single channel is not grey.
    """
    if picture.ndim == 3 and picture.shape[2] == 3:
        return picture
    if picture.ndim == 3 and picture.shape[2] == 4:
        conversion = cv2.COLOR_BGRA2BGR
    else:
        conversion = YUV_LAYOUTS.get(layout or "", cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.cvtColor(picture, conversion), np.uint8)


def _is_pipeline(address: str) -> bool:
    return " ! " in address


def _is_device(address: str) -> bool:
    return Path(address).is_char_device()


def _without_password(address: str) -> str:
    """An address, or a pipeline with its properties, as it may be shown."""
    address = re.sub(r"://[^/\s]*@", "://***@", address)
    return re.sub(r"""\b(user-pw|password)\s*=\s*("[^"]*"|'[^']*'|\S+)""", r"\1=***", address)


def _opened(address: str, patience: Patience) -> cv2.VideoCapture:
    """Our error is one line; OpenCV would tell of every backend that it tried."""
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        if address.isdecimal():
            return cv2.VideoCapture(int(address))
        if _is_pipeline(address):
            return cv2.VideoCapture(address, cv2.CAP_GSTREAMER)
        if "://" in address:
            stall_ms = int(1000 * patience.stall_s)
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, stall_ms]
            limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, stall_ms]
            return cv2.VideoCapture(address, cv2.CAP_ANY, limits)
        with decoder_complaints():  # the AVI reader prints what it did not expect
            return cv2.VideoCapture(address)
    finally:
        logging.setLogLevel(level)


def _expected(address: str) -> str:
    """What OpenCV could not open, after "is not a"."""
    if _is_pipeline(address) and not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        return "pipeline for this OpenCV, which has no GStreamer; use one that has, as JetPack's"
    if is_camera(address) or is_stream(address):
        return "camera or stream that OpenCV can open; check what it is given"
    return "video file that OpenCV can open, or is cut short"


def _layout(address: str) -> str | None:
    """The pixel format that a pipeline ends in, as its text says: … format=NV12 ! appsink."""
    formats = re.findall(r"format=(?:\(string\))?(\w+)", address)
    return formats[-1] if formats and _is_pipeline(address) else None


def _broken(first: int, count: int) -> str:
    if count == 1:
        return f"frame {first} is broken and was skipped"
    return f"frames {first} to {first + count - 1} are broken and were skipped"
