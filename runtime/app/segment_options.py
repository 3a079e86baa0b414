"""What `refinenet segment` is asked for: its options, as they are typed."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.app.shards import Shard, add_shards
from runtime.arguments import Parser, positive
from runtime.remote.address import model_argument


@dataclass(frozen=True)
class SegmentOptions:
    """The command, as typed."""

    source: str
    model: Path | str
    output: Path
    overlay: bool
    legend: bool
    side_by_side: bool
    provider: str | None
    card: Path | None
    threads: int | None
    frames: int | None
    reconnect: float | None
    skip_broken: bool
    ignore_exif: bool
    shard: Shard | None
    skip_existing: bool
    quiet: bool


def segment_options(arguments: Sequence[str], program: str) -> SegmentOptions:
    parser = Parser(
        "segment",
        "Segment an image, a folder of images, a video file, a camera or a network stream.\n\n"
        "Images give PNG files: masks whose pixels are class ids and whose palette shows the\n"
        "classes, or overlays. Videos give videos: the masks in colours, or overlays; or, where\n"
        "the output is a folder, PNG files named by the frame's number.",
        f"{program} drive.mp4 --model street.fp16.onnx --output out.mp4 --overlay",
    )
    parser.prog = program
    parser.add_argument(
        "source",
        metavar="INPUT",
        help="image, folder, video, camera index or device, URL, GStreamer pipeline",
    )
    parser.add_argument(
        "--model",
        type=model_argument,
        required=True,
        help=".onnx, .engine, or triton://HOST:PORT/NAME for a served one",
    )
    parser.add_argument(
        "--output",
        type=_output,
        required=True,
        help="a .png or a folder for an image, a folder for a folder, a .mp4 .mkv .mov .avi or a "
        "folder for a video",
    )
    parser.add_argument("--overlay", action="store_true", help="the classes' colours on the frame")
    parser.add_argument("--legend", action="store_true", help="name the classes in the picture")
    parser.add_argument("--side-by-side", action="store_true", help="the frame beside the picture")
    parser.add_argument("--provider", help="of ONNX Runtime: cpu (default), cuda, tensorrt, rtx")
    parser.add_argument("--card", type=Path, help="the card of a model that carries none")
    parser.add_argument("--threads", type=positive, help="of ONNX Runtime on the CPU")
    parser.add_argument("--frames", type=positive, help="stop after this many; videos and cameras")
    parser.add_argument(
        "--reconnect",
        type=_seconds,
        metavar="SECONDS",
        help="how long a camera or stream may stay away before it is given up (default 60)",
    )
    parser.add_argument(
        "--skip-broken",
        action="store_true",
        help="name and count images that cannot be read, and go on with the others",
    )
    parser.add_argument(
        "--ignore-exif",
        action="store_true",
        help="images: leave the pixels as they lie, where EXIF says that they are to be turned",
    )
    add_shards(parser)
    return SegmentOptions(**vars(parser.parse_args(arguments)))


def _output(text: str) -> Path:
    """A file or a folder: what is neither would become a folder of that name."""
    if not text or text == "-" or "://" in text or " ! " in text:
        raise argparse.ArgumentTypeError(
            f"'{text}'; expected a .png, a video file or a folder. Nothing is written to standard "
            "output, to a network address or into a pipeline"
        )
    return Path(text)


def _seconds(text: str) -> float:
    """A number of seconds, zero included."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (math.isfinite(seconds) and seconds >= 0):
        raise argparse.ArgumentTypeError(f"'{text}'; expected a number of seconds, 0 or more")
    return seconds
