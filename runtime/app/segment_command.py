"""`refinenet segment` and `python -m runtime`: images and videos to masks and overlays."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from runtime.app.segment_options import SegmentOptions, segment_options
from runtime.app.shards import Target, left_to_do, refuse_shards
from runtime.arguments import DONE, one_line
from runtime.errors import InputError

if TYPE_CHECKING:
    from runtime.app.video import Outcome, Render, Write
    from runtime.app.video_source import VideoSource
    from runtime.segmenter import Segmenter


def segment(arguments: Sequence[str], program: str = "refinenet segment") -> int:
    """Images, videos and cameras to masks or overlays.

    program: the command's name in its help and messages.
    """
    options = segment_options(arguments, program)
    if _is_images(options.source):
        return _segment_images(options, program)
    return _segment_video(options, program)


def _is_images(source: str) -> bool:
    from runtime.files import existing_file
    from runtime.frames import IMAGE_ENDINGS
    from runtime.photo import CONVERT, FOREIGN

    if "://" in source:  # an address may end in .jpg and still be a stream
        return False
    kind = FOREIGN.get(Path(source).suffix.lower())
    if kind and existing_file(source):
        raise InputError(f"{source} is an image of the kind {kind}, which is not read; {CONVERT}")
    return Path(source).is_dir() or Path(source).suffix.lower() in IMAGE_ENDINGS


def _segment_images(options: SegmentOptions, program: str) -> int:
    from runtime.app import images
    from runtime.photo import left_out

    for given, name in ((options.frames, "--frames"), (options.reconnect, "--reconnect")):
        if given is not None:
            raise InputError(f"{name} is for videos and cameras; leave it out for images")
    _check_legend(options, as_png=True)
    source = Path(options.source)
    planned = images.plan(source, options.output)
    changes = ("overlay", "legend", "side_by_side", "ignore_exif")  # what the files show
    look = [name for name in changes if getattr(options, name)]
    planned, notes = left_to_do(
        planned,
        source,
        Target(options.output, options.model, options.card, look),
        options.shard,
        options.skip_existing,
    )
    if not planned:  # a shard may be empty, or done
        print(f"{options.output}: nothing left to do", *notes, sep="; ")
        return DONE
    image_options = images.ImageOptions(
        turned=not options.ignore_exif,
        skip_broken=options.skip_broken,
        part=options.shard is not None or options.skip_existing,
        report=_reporter(program),
        quiet=options.quiet,
    )
    with _opened(options) as segmenter:
        started = time.perf_counter()
        write = _png_writer(segmenter, options)
        outcome = images.segment_images(segmenter, planned, write, image_options)
        seconds = time.perf_counter() - started
        if outcome.broken:
            notes = [*notes, f"{len(outcome.broken)} broken images skipped"]
        print(_summary(options, segmenter, outcome.written, seconds), *notes, sep="; ")
    others = left_out(source) if source.is_dir() else None
    _print_notes([*segmenter.notes, *outcome.notes, *([others] if others else [])], program)
    return DONE


def _reporter(program: str) -> Callable[[str], None]:
    """Prints a line above the progress bar."""
    return lambda message: tqdm.write(f"{program}: {one_line(message)}", file=sys.stderr)


def _segment_video(options: SegmentOptions, program: str) -> int:
    from runtime.app import video
    from runtime.app.lost_in_video import lost_notes
    from runtime.app.video_source import Patience, VideoSource

    for given, name in (
        (options.skip_broken, "--skip-broken"),
        (options.ignore_exif, "--ignore-exif"),
    ):
        if given:
            raise InputError(
                f"{name} is for images; leave it out for videos, whose broken frames are skipped "
                "in any case"
            )
    refuse_shards(options.shard, options.skip_existing)
    _silence_opencv()
    video.check_video_target(options.output)
    _check_legend(options, as_png=video.is_folder(options.output))
    if os.path.realpath(options.output) == os.path.realpath(options.source):
        raise InputError(f"{options.output} is the input itself; choose another --output")

    patience = Patience() if options.reconnect is None else Patience(options.reconnect)
    report = _reporter(program)
    with VideoSource(options.source, patience, report) as source, _opened(options) as segmenter:
        if options.reconnect is not None and not source.is_live:
            raise InputError("--reconnect is for live cameras and streams; leave it out for a file")
        started = time.perf_counter()
        outcome = _run_video(segmenter, source, options)
        seconds = time.perf_counter() - started
    dropped = f"; {outcome.dropped} frames dropped to keep up" if outcome.dropped else ""
    print(_summary(options, segmenter, outcome.frames, seconds) + dropped, flush=True)
    lost = [] if video.is_folder(options.output) else lost_notes(options.source)
    _print_notes([*segmenter.notes, *lost], program)
    if outcome.stopped is not None:
        raise outcome.stopped
    return DONE


def _run_video(segmenter: Segmenter, source: VideoSource, options: SegmentOptions) -> Outcome:
    from runtime.app import video

    video_options = video.VideoOptions(options.frames, options.quiet)
    if video.is_folder(options.output):
        write = _png_writer(segmenter, options)
        return video.segment_to_folder(segmenter, source, options.output, write, video_options)
    render = _renderer(segmenter, options)
    return video.segment_to_video(segmenter, source, options.output, render, video_options)


def _print_notes(notes: Sequence[str], program: str) -> None:
    """Each once; a segmenter's after close(), which may add one."""
    for note in dict.fromkeys(notes):
        print(f"{program}: {one_line(note)}", file=sys.stderr)


def _silence_opencv() -> None:
    """OpenCV, and FFmpeg inside it, write to stderr by themselves; our reports say it in a line."""
    import cv2

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg listens to this alone
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _check_legend(options: SegmentOptions, *, as_png: bool) -> None:
    if options.legend and as_png and not _draws(options):
        raise InputError("--legend needs --overlay: a mask's pixels are class ids alone")


def _draws(options: SegmentOptions) -> bool:
    """Whether a PNG file shows a picture rather than the mask itself."""
    return options.overlay or options.side_by_side


def _opened(options: SegmentOptions) -> Segmenter:
    from runtime.segmenter import Segmenter

    return Segmenter.open(
        options.model, provider=options.provider, card=options.card, threads=options.threads
    )


def _renderer(segmenter: Segmenter, options: SegmentOptions) -> Render:
    from runtime.app.overlay import Look, picture

    look = Look(options.overlay, options.legend, options.side_by_side)
    return lambda frame, mask: picture(frame, mask, segmenter.classes, segmenter.palette, look)


def _png_writer(segmenter: Segmenter, options: SegmentOptions) -> Write:
    from runtime.app.overlay import write_mask, write_picture

    if not _draws(options):
        return lambda path, _, mask: write_mask(path, mask, segmenter.palette)
    render = _renderer(segmenter, options)
    return lambda path, frame, mask: write_picture(path, render(frame, mask))


def _summary(options: SegmentOptions, segmenter: Segmenter, count: int, seconds: float) -> str:
    frames = "1 frame" if count == 1 else f"{count} frames"
    return (
        f"{options.output}: {frames}, {count / seconds:.1f} frames/s, reading and writing "
        f"included ({segmenter.description})"
    )
