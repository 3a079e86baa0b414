"""A video file of constant rate, from pictures that come when they come."""

from __future__ import annotations

import math
from pathlib import Path
from types import MappingProxyType, TracebackType

import cv2
import numpy as np

from runtime.errors import InputError
from runtime.frames import Frame, decoder_complaints

# Codecs that every build of OpenCV writes; H.264 is not among them.
CODECS = MappingProxyType({".mp4": "mp4v", ".mkv": "mp4v", ".mov": "mp4v", ".avi": "MJPG"})


class VideoFile:
    """A video being written; its size is the first picture's.

    Every picture is shown from its own time to that of the next one, so that the video lasts as
    long as what it shows even where frames were broken, dropped, or of varying rate.

    An odd height or width grows by one pixel, since the codecs store colour for pairs of pixels.
    """

    def __init__(self, path: Path, fps: float, longest_still_s: float = math.inf) -> None:
        """longest_still_s: a longer pause between two pictures is left out."""
        self._path, self._fps, self._longest_still_s = path, fps, longest_still_s
        self._writer: cv2.VideoWriter | None = None
        self._shown: Frame | None = None
        self._start_s, self._frames = 0.0, 0

    def write(self, seconds: float, picture: Frame) -> None:
        """Add a picture.

        seconds: its time; never before that of the picture before it.
        picture: (H, W, 3) uint8 BGR; resized where it is not as large as the first.

        Raises InputError if the file cannot be written.
        """
        picture = _of_even_size(picture)
        if self._writer is None:
            self._writer, self._start_s = self._opened(picture), seconds
        shown = picture if self._shown is None else self._shown
        if picture.shape != shown.shape:
            # OpenCV would leave it out without a word.
            height, width = shown.shape[:2]
            picture = np.asarray(cv2.resize(picture, (width, height)), np.uint8)
        place = round((seconds - self._start_s) * self._fps)
        missing = place - self._frames
        if missing > self._longest_still_s * self._fps:
            self._start_s += missing / self._fps
        else:
            self._append(self._writer, shown, missing)
        # One frame early is no reason to leave it out: a camera's intervals vary.
        self._append(self._writer, picture, 1 if missing >= -1 else 0)
        self._shown = picture

    def _append(self, writer: cv2.VideoWriter, picture: Frame, times: int) -> None:
        for _ in range(times):
            writer.write(picture)
            self._frames += 1

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

    def close(self) -> None:
        """Finish the file, which makes it playable; again, it does nothing."""
        if self._writer is not None:
            self._writer.release()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None and self._frames:
            self._check_written()

    def _check_written(self) -> None:
        """InputError unless the last frame reads back: OpenCV does not tell of a full disk."""
        with decoder_complaints():
            video = cv2.VideoCapture(str(self._path))
            video.set(cv2.CAP_PROP_POS_FRAMES, self._frames - 1)
            whole, _ = video.read()
            video.release()
        if not whole:
            raise InputError(
                f"the video in {self._path.parent} is not whole: the disk is probably full"
            )


def _of_even_size(picture: Frame) -> Frame:
    height, width = picture.shape[:2]
    if not (height % 2 or width % 2):
        return picture
    edges = 0, height % 2, 0, width % 2
    return np.asarray(cv2.copyMakeBorder(picture, *edges, cv2.BORDER_REPLICATE), np.uint8)
