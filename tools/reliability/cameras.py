"""Cameras that die, fall silent and stay away while `refinenet segment` watches them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2

from tools.cameras.mjpeg_server import MjpegServer
from tools.cameras.rtsp_server import RtspServer
from tools.reliability.confined import Limits, Outcome, Server
from tools.reliability.faults import Fault
from tools.reliability.shelf import frame
from tools.reliability.trials import link_all, names_in

CAMERAS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"HTTP": MjpegServer, "RTSP": RtspServer}
)
BEFORE = 20  # frames that a camera sends before it fails
ASKED = 30  # frames that the command is to segment; more than it gets before
AFTER = 400  # frames that a camera sends when it is back, of which some are dropped
AWAY_S = 1.5
SILENT_S = 120  # unless the other side gives it up before
OUTPUT = "out.mp4"
COMMAND = (
    f"segment {{address}} --model toy.fp32.onnx --output {OUTPUT} --frames {ASKED} "
    "--reconnect {reconnect_s}"
)
WHILE_AWAY = ("gives no more frames; trying again for", "is back after")  # what it reports
ERRORS = ("refinenet segment: SourceLost: ", "refinenet segment: InputError: ")


@dataclass(frozen=True)
class Failure:
    """What a camera does, and what is right then.

    sends: frames, over each connection. stall_s: how long it falls silent then. is_there: it can
    be connected. dies: it is switched off once the first frames are in the video. comes_back: it is
    switched on again AWAY_S later. exit_code: of the command. video: whether it leaves one.
    """

    sends: int = BEFORE
    stall_s: float = 0.0
    is_there: bool = True
    dies: bool = False
    comes_back: bool = False
    reconnect_s: float = 30.0
    exit_code: int = 0
    video: bool = True


FAILURES: Mapping[str, Failure] = MappingProxyType(
    {
        "dies and comes back": Failure(dies=True, comes_back=True),
        "falls silent and is connected again": Failure(stall_s=SILENT_S),
        "stays away": Failure(dies=True, reconnect_s=2, exit_code=2),
        "stays away, without patience": Failure(dies=True, reconnect_s=0, exit_code=2),
        "never sends": Failure(0, SILENT_S, reconnect_s=2, exit_code=2, video=False),
        "is not there": Failure(is_there=False, reconnect_s=2, exit_code=2, video=False),
    }
)


def watch(protocol: str, name: str, shelf: Path, room: Path, server: Server) -> Fault:
    """Segment what a failing camera sends; what the command did wrong."""
    shutil.rmtree(room, ignore_errors=True)
    link_all(shelf, room)
    before = names_in(room)
    failure = FAILURES[name]
    outcome = _outcome(CAMERAS[protocol], failure, room, server)
    fault = fault_in(failure, outcome, room, names_in(room) - before)
    return Fault("segment", f"{protocol} camera that {name}", fault)


def _outcome(camera: Callable[..., Any], failure: Failure, room: Path, server: Server) -> Outcome:
    with ExitStack() as on, ThreadPoolExecutor(1) as pool:
        first = on.enter_context(camera([frame()] * failure.sends, stall_s=failure.stall_s))
        if not failure.is_there:
            on.close()
        command = COMMAND.format(address=first.address, reconnect_s=failure.reconnect_s)
        running = pool.submit(server.run, command.split(), room, Limits(timeout_s=60))
        if failure.dies:
            _wait_for_frames(room, running)
            on.close()
        if failure.comes_back:
            time.sleep(AWAY_S)
            on.enter_context(camera([frame()] * AFTER, first.port))
        return running.result()


def _wait_for_frames(room: Path, running: Future[Outcome]) -> None:
    """Until the video that is being written has been begun."""
    while not running.done() and not any(room.glob(".*.part.mp4")):
        time.sleep(0.01)


def fault_in(failure: Failure, outcome: Outcome, room: Path, new: set[str]) -> str | None:
    """What the command did wrong, or None. new: the files that were not there before."""
    if outcome.timed_out:
        return f"still running after {outcome.seconds:.0f} s"
    if outcome.exit_code != failure.exit_code:
        return f"exit code {outcome.exit_code}: {outcome.stderr[-300:]}"
    reports = outcome.stderr.splitlines()
    error = reports.pop() if outcome.exit_code and reports else ""
    if outcome.exit_code and not error.startswith(ERRORS):
        return f"exit code {outcome.exit_code} with {error!r} as the last line"
    if strange := [line for line in reports if not any(part in line for part in WHILE_AWAY)]:
        return f"said {strange[0]!r}"
    if outcome.exit_code == 0 and len(reports) < len(WHILE_AWAY):
        return "did not say that the camera was away"
    if new != ({OUTPUT} if failure.video else set()):
        return f"left {', '.join(sorted(new)) or 'no video'}"
    return _fault_of_video(room / OUTPUT, failure) if failure.video else None


def _fault_of_video(path: Path, failure: Failure) -> str | None:
    """It plays to the end that its header states, and lasts as long as what it shows."""
    video, frames = cv2.VideoCapture(str(path)), 0
    stated, rate = video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)
    while video.read()[0]:
        frames += 1
    if not frames or frames != stated:
        return f"{frames} frames of {stated:g} can be played"
    if failure.comes_back and frames / rate < AWAY_S:
        return f"{frames / rate:.1f} s of video of a camera that was away for {AWAY_S} s"
    return None
