"""benchmarks/run_gpu.sh, with a refinenet that does nothing but say how it was called."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/run_gpu.sh"


def run_gpu(folder: Path, out: Path, *, failing: str) -> subprocess.CompletedProcess[str]:
    """failing: the command that ends with 2."""
    stand_in = folder / "refinenet"
    stand_in.write_text(
        f'#!/bin/sh\necho "$1" >> {folder}/calls\n'
        f'echo "said by $1"\n[ "$1" != {failing} ] || exit 2\n'
    )
    stand_in.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", SCRIPT, out], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("failing", "code", "last"),
    [("nothing", 0, "report"), ("doctor", 0, "report"), ("benchmark", 2, "benchmark")],
)
def test_the_doctor_comes_first_is_kept_and_stops_nothing(
    tmp_path: Path, failing: str, code: int, last: str
) -> None:
    done = run_gpu(tmp_path, tmp_path / "out", failing=failing)
    calls = (tmp_path / "calls").read_text().split()
    assert (calls[0], calls[-1], done.returncode) == ("doctor", last, code), done.stderr
    assert (tmp_path / "out/doctor.txt").read_text() == "said by doctor\n"
