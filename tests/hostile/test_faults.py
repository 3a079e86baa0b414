"""Disks that fail while a command writes, and kill -9; faults.py holds all commands."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from confined import LIGHT, Limits, Server
from faults import compiled, kills, writes_that_fail
from trials import SEGMENT
from whole import READERS, is_whole

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


@pytest.mark.parametrize("file", ["photo.png", "clip.mp4", "toy.fp32.onnx", "page.md", "card.json"])
def test_half_a_file_is_not_whole(file: str, shelf: Path, tmp_path: Path) -> None:
    assert is_whole(shelf / file)
    half = tmp_path / file
    data = (shelf / file).read_bytes()
    half.write_bytes(data[: len(data) // 2])
    assert half.suffix in READERS
    assert not is_whole(half)
