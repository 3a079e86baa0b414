"""A video file, a camera or a network stream, frame by frame, into a video file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import MappingProxyType, TracebackType

import cv2
import numpy as np
from tqdm import tqdm

from runtime.errors import InputError
from runtime.files import existing_file, written_whole
from runtime.frames import Frame, Mask
from runtime.segmenter import Segmenter, frames_and_masks

# Codecs that every build of OpenCV writes; H.264 is not among them.
CODECS = MappingProxyType({".mp4": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".avi": "MJPG"})
USUAL_FPS = 30.0  # many cameras do not state their rate

Render = Callable[[Frame, Mask], Frame]


class VideoSource:
    """A video file's path, a camera's index, or an address such as rtsp://host/stream, opened.

    fps: frames per second, 30 where the source does not say.
    frame_count: as the file's header states it, None for a camera or a stream.
    """

    def __init__(self, address: str) -> None:
        """Open it; InputError if OpenCV cannot."""
        self.address = address
        endless = is_camera(address) or "://" in address
        target = int(address) if is_camera(address) else address
        if not endless:
            existing_file(address)
        self._capture = _silently_opened(target)
        if not self._capture.isOpened():
            raise InputError(
                f"{address} is not a camera or stream that OpenCV can open; check what it is given"
                if endless
                else f"{address} is not a video file that OpenCV can open, or is cut short"
            )
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS)) or USUAL_FPS
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.frame_count = count if count > 0 and not endless else None

    def __iter__(self) -> Iterator[Frame]:
        """Every frame, (H, W, 3) uint8 BGR, upright."""
        while True:
            whole, frame = self._capture.read()
            if not whole:
                return
            yield np.asarray(frame, np.uint8)

    def close(self) -> None:
        """Let go of the file or camera; calling this again does nothing."""
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


@dataclass(frozen=True)
class VideoOptions:
    """limit: stop after this many frames; None goes on to the end, or until Ctrl-C."""

    limit: int | None = None
    quiet: bool = False


def is_camera(address: str) -> bool:
    """Whether the text is a camera's index; a file of that name is written ./0."""
    return address.isdecimal()


def check_video_target(output: Path) -> None:
    """InputError unless a video of this ending can be written."""
    if output.suffix.lower() not in CODECS:
        raise InputError(f"{output} ends in '{output.suffix}'; expected one of {', '.join(CODECS)}")


def segment_video(
    segmenter: Segmenter,
    source: VideoSource,
    output: Path,
    render: Render,
    options: VideoOptions | None = None,
) -> int:
    """Segment every frame and write what `render` makes of it, at the source's rate and size.

    An odd height or width grows by one pixel, since the codecs store colour for pairs of pixels.
    Ctrl-C ends the video at the last frame written, puts it in place, and goes on upwards.

    Returns the number of frames. Raises InputError if no frame can be decoded or the file cannot be
    written.
    """
    options = options or VideoOptions()
    check_video_target(output)
    interrupt: KeyboardInterrupt | None = None
    pairs = frames_and_masks(segmenter, islice(source, options.limit))
    with written_whole(output) as temporary, _Writer(temporary, source.fps) as writer:
        try:
            with closing(pairs):
                for frame, mask in _progress(pairs, source, options):
                    writer.write(render(frame, mask))
        except KeyboardInterrupt as stop:
            if not writer.frames:
                raise
            interrupt = stop
        if not writer.frames:
            raise InputError(f"{source.address} holds no frame that OpenCV can decode")
    if interrupt is not None:
        raise interrupt
    return writer.frames


def _progress(
    pairs: Iterable[tuple[Frame, Mask]], source: VideoSource, options: VideoOptions
) -> Iterable[tuple[Frame, Mask]]:
    counts = [count for count in (source.frame_count, options.limit) if count is not None]
    # None: tqdm shows a bar on a terminal only.
    disable = True if options.quiet else None
    bar: Iterable[tuple[Frame, Mask]] = tqdm(
        pairs, total=min(counts, default=None), unit="frame", disable=disable
    )
    return bar


class _Writer:
    """A cv2.VideoWriter that takes its size from the first frame."""

    def __init__(self, path: Path, fps: float) -> None:
        self._path, self._fps, self.frames = path, fps, 0
        self._writer: cv2.VideoWriter | None = None

    def write(self, picture: Frame) -> None:
        height, width = picture.shape[:2]
        if height % 2 or width % 2:
            edges = 0, height % 2, 0, width % 2
            picture = np.asarray(cv2.copyMakeBorder(picture, *edges, cv2.BORDER_REPLICATE))
        if self._writer is None:
            self._writer = self._opened(picture)
        self._writer.write(picture)
        self.frames += 1

    def _opened(self, picture: Frame) -> cv2.VideoWriter:
        codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        height, width = picture.shape[:2]
        writer = cv2.VideoWriter(str(self._path), codec, self._fps, (width, height))
        if not writer.isOpened():
            raise InputError(
                f"OpenCV cannot write a {self._path.suffix} video into {self._path.parent}; "
                "choose another place or ending"
            )
        return writer

    def __enter__(self) -> _Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()


def _silently_opened(target: int | str) -> cv2.VideoCapture:
    """Our error is one line; OpenCV would tell of every backend that it tried."""
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(target)
    finally:
        logging.setLogLevel(level)
