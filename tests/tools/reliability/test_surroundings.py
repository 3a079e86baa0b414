"""Streams, names, pictures, class counts and disks; surroundings.py holds the table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.arguments import one_line
from tools.reliability.confined import Server
from tools.reliability.surroundings import SURROUNDINGS, Surrounding, run

# Without a network, and one command for each kind of stream.
QUICK = [
    (f"{group}: {name}", surrounding)
    for group, table in SURROUNDINGS.items()
    for name, surrounding in table.items()
    if not name.startswith(("convert", "evaluate", "benchmark", "doctor", "segment -", "--help"))
    and not (group == "streams" and name.startswith("segment"))
]


@pytest.fixture(autouse=True)
def _rooms_open_to_another_user() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("surrounding", [s for _, s in QUICK], ids=[name for name, _ in QUICK])
def test_the_command_ends_well(
    surrounding: Surrounding, shelf: Path, tmp_path: Path, server: Server
) -> None:
    if surrounding.limits.unprivileged:
        for folder in (tmp_path, *list(tmp_path.parents)[:3]):
            folder.chmod(folder.stat().st_mode | 0o055)
    assert run(surrounding, shelf, tmp_path / "room", server) is None


def test_a_message_is_one_line_that_moves_no_cursor() -> None:
    assert one_line("a\n  b\x1b[2J\tc\u2028d") == "a b [2J c d"
    assert len(one_line("x" * 10**6)) < 3000
