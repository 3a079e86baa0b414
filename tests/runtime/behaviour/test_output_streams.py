"""A command whose output cannot be written: its exit code, and at most one line of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from runtime.arguments import run_command
from runtime.errors import CheckFailed
def command(arguments):
    {body}
    return 0
sys.exit(run_command(command, "refinenet verify", []))
"""
FAILS = "print('a table'); raise CheckFailed('it differs')"
LONG = "print('x' * 10**6); raise CheckFailed('it differs')"
SHORT = "print('a table')"
NAMELESS = "raise OSError('the camera went away')"


def run(body: str, stdout: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(body=body)]
    buffered = {name: it for name, it in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=buffered)


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (SHORT, 0, ""),
        (FAILS, 1, "refinenet verify: CheckFailed: it differs\n"),
        (LONG, 141, ""),  # it never came to its end: nobody knows whether it would have failed
    ],
)
def test_a_reader_that_went_away(body: str, code: int, said: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(body, writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (SHORT, 2, "refinenet verify: reading or writing: No space left on device\n"),
        (FAILS, 1, "refinenet verify: CheckFailed: it differs\n"),
        (LONG, 2, "refinenet verify: reading or writing: No space left on device\n"),
    ],
)
def test_a_full_disk(body: str, code: int, said: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = run(body, full.fileno())
    assert (done.returncode, done.stderr) == (code, said)


def test_an_error_without_a_number_is_named() -> None:
    done = run(NAMELESS, subprocess.DEVNULL)
    said = "refinenet verify: reading or writing: the camera went away\n"
    assert (done.returncode, done.stderr) == (2, said)
