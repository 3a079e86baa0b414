"""A video, camera or stream through a Segmenter: decode, segment and write at the same time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path

from tqdm import tqdm

from runtime.app.video_source import TimedFrame, VideoSource
from runtime.app.video_writer import CODECS, VideoFile
from runtime.errors import DeployError, InputError, SourceLost
from runtime.files import output_folder, written_whole
from runtime.frames import Frame, Mask
from runtime.mask_stream import with_masks
from runtime.overlap import Ahead, Behind
from runtime.segmenter import Segmenter

QUEUE = 4  # frames waiting between two stages
# A camera that was away for an hour makes no hour of video.
LONGEST_STILL_S = 10.0

Render = Callable[[Frame, Mask], Frame]
Write = Callable[[Path, Frame, Mask], None]
Pair = tuple[TimedFrame, Mask]


@dataclass(frozen=True)
class VideoOptions:
    """limit: stop after this many frames; None goes on to the end, or until Ctrl-C."""

    limit: int | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Outcome:
    """frames: that were segmented and written.
    dropped: that a live source gave faster than they could be segmented.
    stopped: what ended it before its end; what had been written by then is in place.
    """

    frames: int
    dropped: int
    stopped: KeyboardInterrupt | SourceLost | None


def check_video_target(output: Path) -> None:
    """InputError unless a video of this ending, or pictures in a folder, can be written."""
    if not is_folder(output) and output.suffix.lower() not in CODECS:
        raise InputError(
            f"{output} ends in '{output.suffix}'; expected one of {', '.join(CODECS)}, or a folder"
        )


def is_folder(output: Path) -> bool:
    """Whether the output is a folder of pictures: it exists as one, or has no ending."""
    return output.is_dir() or not output.suffix


def segment_to_video(
    segmenter: Segmenter,
    source: VideoSource,
    output: str | Path,
    render: Render,
    options: VideoOptions | None = None,
) -> Outcome:
    """Write what `render` makes of every frame as a video of the source's rate, size and duration.

    render: called in the thread that writes.

    Ctrl-C, or a camera that is lost for good, ends the video at the last frame before it.
    Raises InputError if no frame can be decoded or the file cannot be written.
    """
    output = Path(output)
    check_video_target(output)
    longest_still_s = LONGEST_STILL_S if source.is_live else math.inf
    with written_whole(output) as temporary:
        with VideoFile(temporary, source.fps, longest_still_s) as video:

            def write(pair: Pair) -> None:
                timed, mask = pair
                video.write(timed.seconds, render(timed.frame, mask))

            outcome = _segment(segmenter, source, write, options or VideoOptions())
        if not outcome.frames:
            raise outcome.stopped or _without_frames(source)
    return outcome


def segment_to_folder(
    segmenter: Segmenter,
    source: VideoSource,
    folder: str | Path,
    write_file: Write,
    options: VideoOptions | None = None,
) -> Outcome:
    """Write every frame's mask to a PNG file named by the frame's number, from 000000.png.

    write_file: writes one file, in a thread of its own; the number of a frame that was broken or
    dropped is missing.

    Raises InputError if no frame can be decoded or the files cannot be written.
    """
    folder = output_folder(folder)

    def write(pair: Pair) -> None:
        timed, mask = pair
        write_file(folder / f"{timed.index:06}.png", timed.frame, mask)

    outcome = _segment(segmenter, source, write, options or VideoOptions())
    if not outcome.frames:
        raise outcome.stopped or _without_frames(source)
    return outcome


def _segment(
    segmenter: Segmenter,
    source: VideoSource,
    write: Callable[[Pair], None],
    options: VideoOptions,
) -> Outcome:
    """Three threads: one decodes, this one segments, one writes; a queue between each two."""
    frames = 0
    stopped: KeyboardInterrupt | SourceLost | None = None
    with Behind(write, QUEUE) as writer:
        decoded = Ahead(source, 1 if source.is_live else QUEUE, newest=source.is_live)
        try:
            frames_read = islice(decoded, options.limit)
            with closing(with_masks(segmenter, frames_read, attrgetter("frame"))) as pairs:
                for pair in _progress(pairs, source, options):
                    writer.put(pair)
                    frames += 1
        except (KeyboardInterrupt, SourceLost) as stop:
            stopped = stop
        finally:
            source.stop()
            decoded.close()
    return Outcome(frames, decoded.dropped, stopped)


def _progress(pairs: Iterable[Pair], source: VideoSource, options: VideoOptions) -> Iterable[Pair]:
    counts = [count for count in (source.frame_count, options.limit) if count is not None]
    # None: tqdm shows a bar on a terminal only.
    disable = True if options.quiet else None
    bar: Iterable[Pair] = tqdm(
        pairs, total=min(counts, default=None), unit="frame", disable=disable
    )
    return bar


def _without_frames(source: VideoSource) -> DeployError:
    return InputError(f"{source.name} holds no frame that OpenCV can decode")
