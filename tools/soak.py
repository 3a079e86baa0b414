"""Stream a video for minutes or hours, or open a model again and again, and see whether it grows.

python -m tools.soak drive.mp4 --model street.fp32.onnx --minutes 10 --json soak.json
python -m tools.soak drive.mp4 --model street.fp32.onnx --loads 1000 --json loads.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.benchmark_command import above_zero
from benchmarks.host.environment import environment
from runtime.arguments import DONE, Parser, positive, run_command
from runtime.errors import CheckFailed
from runtime.files import existing_file, sha256_of, written_whole
from runtime.frames import Frame
from runtime.segmenter import Segmenter
from tools.endurance import Soak, growth, load_soak, stream_soak, video_frames

PROGRAM = "python -m tools.soak"
MIB = 2**20
# What malloc's arenas and the page cache of a long run move by themselves. A mask of 480x640 that
# is kept once a second is above it after half a minute.
LIMIT_BYTES = 8 * MIB


@dataclass(frozen=True)
class SoakOptions:
    """The command, as typed. frames: of the video, before it begins anew."""

    video: Path
    model: Path
    minutes: float | None
    loads: int | None
    frames: int
    fps: float | None
    provider: str | None
    threads: int | None
    json: Path | None
    quiet: bool


@dataclass(frozen=True)
class Verdict:
    """Growth from the second quarter of the run to the last, and what it came to.

    failures: one line each; empty if nothing grew and every mask was right.
    """

    resident_growth_bytes: float
    gpu_growth_bytes: float | None
    thread_growth: float
    open_file_growth: float
    failures: tuple[str, ...]


def judge(soak: Soak) -> Verdict:
    """Whether anything grew, or a mask was lost, doubled, out of order or wrong."""
    samples = soak.samples
    resident = growth([sample.resident_bytes for sample in samples])
    gpu_bytes = [sample.gpu_bytes for sample in samples if sample.gpu_bytes is not None]
    gpu = growth(list(map(float, gpu_bytes))) if gpu_bytes else None
    threads = growth([sample.threads for sample in samples])
    files = growth([sample.open_files for sample in samples])
    findings = (
        (resident > LIMIT_BYTES, f"host memory grew by {resident / MIB:.1f} MiB"),
        ((gpu or 0) > LIMIT_BYTES, f"GPU memory grew by {(gpu or 0) / MIB:.1f} MiB"),
        (threads > 0, f"{threads:g} threads more at the end"),
        (files > 0, f"{files:g} open files more at the end"),
        (
            soak.frames_in != soak.frames_out,
            f"{soak.frames_in} frames went in and {soak.frames_out} masks came out",
        ),
        (soak.wrong_masks > 0, f"{soak.wrong_masks} masks are not those of their frames"),
    )
    failures = tuple(message for failed, message in findings if failed)
    return Verdict(resident, gpu, threads, files, failures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return run_command(_soak, PROGRAM, sys.argv[1:] if arguments is None else arguments)


def _soak(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    existing_file(options.video)
    soak, description = _run(options)
    verdict = judge(soak)
    last = soak.samples[-1]
    print(
        f"{soak.frames_out} masks in {last.seconds:.0f} s ({description}): "
        f"{last.resident_bytes / MIB:.0f} MiB resident, {last.threads} threads, "
        f"{last.open_files} open files; memory moved by "
        f"{verdict.resident_growth_bytes / MIB:+.1f} MiB after the first quarter"
    )
    if options.json is not None:
        _write(options, arguments, soak, verdict, description)
    if verdict.failures:
        raise CheckFailed("; ".join(verdict.failures))
    return DONE


def _options(arguments: Sequence[str]) -> SoakOptions:
    parser = Parser(
        "",
        "Stream a video for minutes or hours, or open a model again and again,\n"
        "and see whether memory, threads or open files grow.",
        f"{PROGRAM} drive.mp4 --model street.fp32.onnx --minutes 10 --json soak.json",
    )
    parser.prog = PROGRAM
    parser.add_argument("video", type=Path, metavar="VIDEO")
    parser.add_argument("--model", type=Path, required=True, help=".onnx or .engine")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=above_zero, help="how long to stream")
    length.add_argument("--loads", type=positive, help="how often to open and close the model")
    parser.add_argument(
        "--frames", type=positive, default=60, help="of the video, which then begins anew"
    )
    parser.add_argument(
        "--fps", type=above_zero, help="pace of the frames; else as fast as it goes"
    )
    parser.add_argument("--provider", help="of ONNX Runtime: cpu (default), cuda, tensorrt, rtx")
    parser.add_argument("--threads", type=positive, help="of ONNX Runtime on the CPU")
    parser.add_argument("--json", type=Path, help="where to write the record")
    return SoakOptions(**vars(parser.parse_args(arguments)))


def _run(options: SoakOptions) -> tuple[Soak, str]:
    opened = partial(
        Segmenter.open, options.model, provider=options.provider, threads=options.threads
    )
    with opened() as segmenter:
        description = segmenter.description
        if options.minutes is not None:
            soak = stream_soak(segmenter, _video(options), 60 * options.minutes, options.fps)
            return soak, description
    frame = next(_video(options)())
    return load_soak(opened, frame, options.loads or 0), description


def _video(options: SoakOptions) -> partial[Iterator[Frame]]:
    return partial(video_frames, options.video, options.frames)


def _write(
    options: SoakOptions, arguments: Sequence[str], soak: Soak, verdict: Verdict, description: str
) -> None:
    record = {
        "command": " ".join((PROGRAM, *arguments)),
        "environment": asdict(environment()),
        "description": description,
        "model": {"file": options.model.name, "sha256": sha256_of(options.model)},
        "video": {"file": options.video.name, "sha256": sha256_of(options.video)},
        "limit_bytes": LIMIT_BYTES,
        "verdict": asdict(verdict),
        **asdict(soak),
    }
    with written_whole(options.json or Path()) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
