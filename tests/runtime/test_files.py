"""Files that are whole or absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.files import existing_file, small_file, small_text, written_whole


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from runtime.files import written_whole\n"
        f"with written_whole(Path({str(tmp_path / 'a.txt')!r})) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    (left,) = tmp_path.iterdir()
    assert ".part" in left.name
    with written_whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.txt") as temporary:
        pass_over = temporary.name.replace(f".{os.getpid()}.", f".{os.getppid()}.")
        (tmp_path / pass_over).write_text("under way")
        temporary.write_text("whole")
    with written_whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / pass_over).exists()


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".txt")
    with written_whole(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


def test_files_of_one_beginning_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    with (
        written_whole(tmp_path / ("x" * 60 + "1.txt")) as one,
        written_whole(tmp_path / ("x" * 60 + "2.txt")) as two,
    ):
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / ("x" * 60 + "1.txt")).read_text() == "1"


def test_a_writer_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.txt"), written_whole(tmp_path / "a.txt"):
        pass


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_file(name: str) -> None:
    with pytest.raises(InputError, match="is a pipe or a device"):
        existing_file(name)


def test_a_null_byte_is_in_no_name() -> None:
    with pytest.raises(InputError, match="a\0b"):
        existing_file("a\0b")


def test_a_card_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    with path.open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(InputError, match="8192 MiB"):
        small_file(path)


def test_text_says_where_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"road\n\xff")
    with pytest.raises(InputError, match="at byte 5"):
        small_text(path)
