"""Disks that fail while a command writes, kill -9, two builds at once, cameras that fail.

faults.py and cameras.py hold them all; here are the quickest.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tools.reliability.cameras import AWAY_S, FAILURES, OUTPUT, WHILE_AWAY, fault_in, watch
from tools.reliability.confined import LIGHT, Limits, Outcome, Server
from tools.reliability.faults import (
    KERNELS,
    compiled,
    dead_loader,
    fault_of_times,
    kills,
    one_timing_cache,
    writes_that_fail,
)
from tools.reliability.trials import SEGMENT
from tools.reliability.whole import READERS, is_whole

VIDEO = "segment clip.mp4 --model toy.fp32.onnx --output out.mp4"


@pytest.fixture(scope="session")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    library = compiled(tmp_path_factory.mktemp("library"))
    if library is None:
        pytest.skip("there is no C compiler to build the library that makes writes fail")
    with Server(LIGHT, library) as server:
        yield server


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EINTR], ids=errno.errorcode.get)
def test_a_write_that_fails_leaves_no_half_mask(
    error: int, shelf: Path, tmp_path: Path, failing: Server
) -> None:
    tried = list(writes_that_fail(SEGMENT, error, shelf, tmp_path / "room", failing, most=5))
    assert [fault.fault for fault in tried] == [None] * len(tried)
    assert len(tried) > 2


def test_a_full_disk_leaves_no_half_video(shelf: Path, tmp_path: Path, failing: Server) -> None:
    tried = list(writes_that_fail(VIDEO, errno.ENOSPC, shelf, tmp_path / "room", failing, most=3))
    assert [fault.fault for fault in tried] == [None] * len(tried)


def test_the_disk_does_fail(shelf: Path, tmp_path: Path, failing: Server) -> None:
    (tmp_path / "room").symlink_to(shelf)
    room = (tmp_path / "room").resolve()
    outcome = failing.run(SEGMENT.split(), room, Limits(failing_write=(errno.ENOSPC, 1)))
    assert outcome.exit_code == 2
    assert "No space left on device" in outcome.stderr
    assert not (shelf / "out.png").exists()


def test_a_killed_command_leaves_nothing_half_and_runs_again(
    shelf: Path, tmp_path: Path, server: Server
) -> None:
    tried = list(kills(VIDEO, 3, shelf, tmp_path / "room", server, Random(1)))
    assert [fault.fault for fault in tried] == [None] * 3


@pytest.mark.slow  # PyTorch is imported twice; tests/refinenet kills loaders in its own process
def test_a_loader_process_that_is_killed_is_one_line_and_the_training_goes_on(
    shelf: Path, tmp_path: Path, server: Server
) -> None:
    tried = dead_loader(0.1, shelf, tmp_path / "room", server)
    assert tried.fault is None
    assert tried.injected.startswith("kill -9 of a loader process")


@pytest.mark.parametrize("kill_s", [None, 0.05])
def test_two_builds_lose_nothing_of_one_timing_cache(kill_s: float | None, tmp_path: Path) -> None:
    assert one_timing_cache(tmp_path / "cache", kill_s).fault is None


def test_times_that_are_lost_are_missed(tmp_path: Path) -> None:
    (tmp_path / "gpu.lock").touch()
    (tmp_path / "gpu.timing").write_text(json.dumps({KERNELS[0]: 1}))
    assert fault_of_times(tmp_path, set(KERNELS[:2])) == f"lost {KERNELS[1]}"
    (tmp_path / ".gpu.part.timing").touch()
    assert "left" in str(fault_of_times(tmp_path, set(KERNELS[:1])))


@pytest.mark.parametrize("protocol", ["HTTP", "RTSP"])
@pytest.mark.parametrize("name", ["dies and comes back", "stays away, without patience"])
def test_a_camera_that_fails_leaves_a_whole_video(
    name: str, protocol: str, shelf: Path, tmp_path: Path, server: Server
) -> None:
    assert watch(protocol, name, shelf, tmp_path / "room", server).fault is None


def test_a_camera_that_is_not_there_is_one_line(
    shelf: Path, tmp_path: Path, server: Server
) -> None:
    assert watch("RTSP", "is not there", shelf, tmp_path / "room", server).fault is None


def test_what_a_camera_command_does_wrong_is_seen(shelf: Path, tmp_path: Path) -> None:
    reports = "".join(f"refinenet segment: it {words} 1 s\n" for words in WHILE_AWAY)
    lost = "refinenet segment: SourceLost: it\n"

    def fault(name: str, exit_code: int, stderr: str, new: set[str]) -> str | None:
        outcome = Outcome(exit_code, "", stderr, timed_out=False, peak_bytes=0, seconds=0)
        return fault_in(FAILURES[name], outcome, tmp_path, new)

    whole = (shelf / "clip.mp4").read_bytes()  # half a second
    (tmp_path / OUTPUT).write_bytes(whole)
    assert fault("stays away", 2, reports + lost, {OUTPUT}) is None
    assert fault("is not there", 2, lost, set()) is None
    for name, exit_code, stderr, new, expected in (
        ("stays away", 0, reports, {OUTPUT}, "exit code 0"),
        ("stays away", 2, f"Traceback\n{lost}", {OUTPUT}, "said 'Traceback'"),
        ("stays away", 2, f"{lost}ValueError: 1\n", {OUTPUT}, "as the last line"),
        ("stays away", 2, reports + lost, set(), "left no video"),
        ("stays away", 2, reports + lost, {OUTPUT, ".out.part.mp4"}, "left .out.part.mp4"),
        ("is not there", 2, lost, {OUTPUT}, "left out.mp4"),
        ("dies and comes back", 0, "", {OUTPUT}, "did not say"),
        ("dies and comes back", 0, reports, {OUTPUT}, f"was away for {AWAY_S} s"),
    ):
        assert expected in str(fault(name, exit_code, stderr, new))
    (tmp_path / OUTPUT).write_bytes(whole[: len(whole) // 2])
    assert "can be played" in str(fault("stays away", 2, reports + lost, {OUTPUT}))


@pytest.mark.parametrize("file", ["photo.png", "clip.mp4", "toy.fp32.onnx", "page.md", "card.json"])
def test_half_a_file_is_not_whole(file: str, shelf: Path, tmp_path: Path) -> None:
    assert is_whole(shelf / file)
    half = tmp_path / file
    data = (shelf / file).read_bytes()
    half.write_bytes(data[: len(data) // 2])
    assert half.suffix in READERS
    assert not is_whole(half)
