"""What every command shares: its parser, its option types, its exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from runtime.errors import CheckFailed, DeployError, InputError

DONE, CHECK_FAILED, INVALID, INTERRUPTED = 0, 1, 2, 130

Command = Callable[[Sequence[str]], int]


class Parser(argparse.ArgumentParser):
    """A parser for one sub-command: an example in its help, --quiet, and one-line errors."""

    def __init__(self, command: str, summary: str, example: str) -> None:
        super().__init__(
            prog=f"refinenet {command}",
            description=summary,
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--quiet", action="store_true", help="no progress bar, only the result")

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def run_command(command: Command, name: str, arguments: Sequence[str]) -> int:
    """Run a sub-command and turn its errors into one line on stderr and an exit code."""
    try:
        code = command(arguments)
        sys.stdout.flush()
    except (DeployError, CheckFailed) as error:
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`); the interpreter's own flush finds no one.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return code


def size(text: str) -> tuple[int, int]:
    """HEIGHTxWIDTH, as in 360x480."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}'; expected HEIGHTxWIDTH, such as 360x480")
    return int(parts[0]), int(parts[1])


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}'; expected a whole number above zero")
    return int(text)


def whole(text: str) -> int:
    """A whole number, zero included."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}'; expected a whole number, 0 or more")
    return int(text)


def choices(*allowed: str) -> Callable[[str], tuple[str, ...]]:
    """A comma-separated list of known words."""

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(word.strip() for word in text.split(","))
        for word in words:
            if word not in allowed:
                raise argparse.ArgumentTypeError(f"'{word}'; expected some of {','.join(allowed)}")
        return tuple(dict.fromkeys(words))

    return parse


def print_written(path: Path, remark: str = "") -> None:
    """One line for a file that a command has written."""
    print(f"{path}  {path.stat().st_size / 1e6:.1f} MB{remark}")
