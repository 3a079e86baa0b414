"""benchmarks/run_gpu.sh, with a refinenet that does nothing but say how it was called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/run_gpu.sh"


def run_gpu(folder: Path, out: Path, *, failing: str) -> subprocess.CompletedProcess[str]:
    """failing: the command line that ends with 2, as a pattern of the shell."""
    stand_in = folder / "refinenet"
    stand_in.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/calls\n'
        f'echo "said by $1"\ncase "$*" in {failing}) exit 2;; esac\n'
        # As the real one: the record is there even where nothing in it could run.
        f'for last; do :; done\n[ "$1" != benchmark ] || : > "$last"\n'
    )
    stand_in.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", SCRIPT, out], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )


def calls(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "calls").read_text().splitlines()]


@pytest.mark.parametrize(
    ("failing", "code", "last"),
    [
        ("nothing", 0, "report"),
        ("doctor*", 0, "report"),
        ("benchmark*/gpu.json", 2, "report"),
        ("benchmark*/gpu-server.json", 0, "report"),
    ],
)
def test_the_doctor_comes_first_is_kept_and_stops_nothing(
    tmp_path: Path, failing: str, code: int, last: str
) -> None:
    done = run_gpu(tmp_path, tmp_path / "out", failing=failing)
    commands = [words[0] for words in calls(tmp_path)]
    assert (commands[0], commands[-1], done.returncode) == ("doctor", last, code), done.stderr
    assert (tmp_path / "out/doctor.txt").read_text() == "said by doctor\n"


def test_all_of_it_has_to_end_within_ten_minutes_and_lies_in_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_gpu(tmp_path, out, failing="nothing").returncode == 0
    *_, whole, server, page = calls(tmp_path)
    # The rest is for what a benchmark does after its last round, and for the page.
    assert 300 < float(whole[whole.index("--total-seconds") + 1]) <= 380
    assert 300 < float(server[server.index("--total-seconds") + 1]) <= 550
    assert [word for word in (*whole, *server, *page) if word.startswith(str(out))] == [
        *(f"{out}/gpu.json", f"{out}/gpu-server.json"),
        *(f"{out}/gpu.json", f"{out}/gpu-server.json", f"{out}/gpu.html"),
    ]
