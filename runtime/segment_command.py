"""`refinenet segment`: images and videos to masks and overlays."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.arguments import DONE, Parser, positive
from runtime.errors import InputError

if TYPE_CHECKING:
    from runtime.frames import Frame, Mask
    from runtime.segmenter import Segmenter


@dataclass(frozen=True)
class SegmentOptions:
    """refinenet segment, as typed."""

    source: str
    model: Path
    output: Path
    overlay: bool
    legend: bool
    provider: str | None
    card: Path | None
    threads: int | None
    frames: int | None
    quiet: bool


def segment(arguments: Sequence[str]) -> int:
    """refinenet segment: images, videos and cameras to masks or overlays."""
    options = _segment_options(arguments)
    if _is_images(options.source):
        return _segment_images(options)
    return _segment_video(options)


def _segment_options(arguments: Sequence[str]) -> SegmentOptions:
    parser = Parser(
        "segment",
        "Segment an image, a folder of images, a video file, a camera or a network stream.\n\n"
        "Images give PNG files: masks whose pixels are class ids and whose palette shows the\n"
        "classes, or overlays. Videos give videos: the masks in colours, or overlays.",
        "refinenet segment drive.mp4 --model street.fp16.onnx --output out.mp4 --overlay",
    )
    parser.add_argument("source", metavar="INPUT", help="image, folder, video, camera index, URL")
    parser.add_argument("--model", type=Path, required=True, help=".onnx or .engine")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        help="a .png or a folder for an image, a folder for a folder, a .mp4 .mkv .mov .avi",
    )
    parser.add_argument("--overlay", action="store_true", help="the classes' colours on the frame")
    parser.add_argument("--legend", action="store_true", help="name the classes in the picture")
    parser.add_argument("--provider", help="of ONNX Runtime: cpu (default), cuda, tensorrt")
    parser.add_argument("--card", type=Path, help="the card of a model that carries none")
    parser.add_argument("--threads", type=positive, help="of ONNX Runtime on the CPU")
    parser.add_argument("--frames", type=positive, help="stop after this many; videos and cameras")
    return SegmentOptions(**vars(parser.parse_args(arguments)))


def _is_images(source: str) -> bool:
    from runtime.frames import IMAGE_ENDINGS

    return Path(source).is_dir() or Path(source).suffix.lower() in IMAGE_ENDINGS


def _segment_images(options: SegmentOptions) -> int:
    from runtime import images
    from runtime.overlay import write_mask, write_picture

    if options.frames is not None:
        raise InputError("--frames is for videos and cameras; choose the images themselves")
    if options.legend and not options.overlay:
        raise InputError("--legend needs --overlay: a mask's pixels are class ids alone")
    planned = images.plan(Path(options.source), options.output)
    with _opened(options) as segmenter:

        def write(path: Path, frame: Frame, mask: Mask) -> None:
            if options.overlay:
                write_picture(path, _picture(frame, mask, segmenter, options))
            else:
                write_mask(path, mask, segmenter.palette)

        started = time.perf_counter()
        count = images.segment_images(segmenter, planned, write, quiet=options.quiet)
        _report(options, segmenter, count, time.perf_counter() - started)
    return DONE


def _segment_video(options: SegmentOptions) -> int:
    # FFmpeg inside OpenCV writes to stderr by itself and listens to this variable alone.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    from runtime import video

    video.check_video_target(options.output)
    if options.output.resolve() == Path(options.source).resolve():
        raise InputError(f"{options.output} is the input itself; choose another --output")
    with video.VideoSource(options.source) as source, _opened(options) as segmenter:
        started = time.perf_counter()
        count = video.segment_video(
            segmenter,
            source,
            options.output,
            lambda frame, mask: _picture(frame, mask, segmenter, options),
            video.VideoOptions(options.frames, options.quiet),
        )
        _report(options, segmenter, count, time.perf_counter() - started)
        expected = source.frame_count
        if expected and count < min(expected, options.frames or expected):
            print(f"the header of {options.source} promises {expected} frames: it may be cut short")
    return DONE


def _opened(options: SegmentOptions) -> Segmenter:
    from runtime.segmenter import Segmenter

    return Segmenter.open(
        options.model, provider=options.provider, card=options.card, threads=options.threads
    )


def _picture(frame: Frame, mask: Mask, segmenter: Segmenter, options: SegmentOptions) -> Frame:
    from runtime.overlay import blend, colour, draw_legend

    if options.overlay:
        picture = blend(frame, mask, segmenter.palette)
    else:
        picture = colour(mask, segmenter.palette)
    if options.legend:
        draw_legend(picture, segmenter.classes, segmenter.palette)
    return picture


def _report(options: SegmentOptions, segmenter: Segmenter, count: int, seconds: float) -> None:
    frames = "1 frame" if count == 1 else f"{count} frames"
    print(
        f"{options.output}: {frames}, {count / seconds:.1f} frames/s, reading and writing "
        f"included ({segmenter.description})"
    )
