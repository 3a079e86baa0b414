"""What every command shares: its parser, its option types, its exit codes."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from runtime.errors import CheckFailed, DeployError, InputError

DONE, CHECK_FAILED, INVALID, INTERRUPTED = 0, 1, 2, 130
READER_GONE = 141  # what a shell sees of a command that SIGPIPE ended

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

LONGEST_MESSAGE = 2000  # characters
MAX_IMAGE_PIXELS = 2**27  # of an image file: 16384x8192, 0.4 GB as a frame

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
        self._typed: list[str] = []
        self.add_argument("--quiet", action="store_true", help="no progress bar, only the result")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """argparse's own; an error will want to know what was typed."""
        self._typed = [str(word) for word in (sys.argv[1:] if args is None else args)]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}{self._meant()} (see {self.prog} --help)")

    def _meant(self) -> str:
        """The nearest option to the first one that does not exist, where one is near."""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        for word in self._typed:
            name = word.partition("=")[0]
            if not name.startswith("-") or name == "-" or name in self._option_string_actions:
                continue
            name = "--" + name.lstrip("-").lower().replace("_", "-")
            whole = [option for option in known if option.startswith(name)]
            if near := whole or difflib.get_close_matches(name, known, 1):
                return f"; did you mean {near[0]} for {word}?"
        return ""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """argparse's own says nothing where the help cannot be written."""
        (file or sys.stdout).write(message)


def run_command(command: Command, name: str, arguments: Sequence[str]) -> int:
    """Run a sub-command and turn its errors into one line on stderr and an exit code."""
    prepare_process()
    message = ""
    try:
        code = _ended(command, arguments)
    except BrokenPipeError:  # the reader of our output went away, as head does
        code = READER_GONE
    except (DeployError, CheckFailed) as error:
        code, message = error.exit_code, f"{type(error).__name__}: {error}"
    except KeyboardInterrupt as error:
        code, message = INTERRUPTED, "; ".join(["interrupted", *map(str, error.args)])
    except MemoryError as error:
        code, message = INVALID, f"this machine's memory does not suffice ({error})"
    except OSError as error:  # a disk, a pipe or a network that fails in the middle of the work
        code, message = INVALID, _failed(error)
    try:
        _flush()
    except OSError as error:
        if not message:
            code, message = INVALID, _failed(error)
    try:
        if message:
            print(f"{name}: {one_line(message)}", file=sys.stderr)
    except OSError:  # stderr can be a full disk too
        _drop(sys.stderr)
    return code


def _ended(command: Command, arguments: Sequence[str]) -> int:
    """Run it to its exit code."""
    try:
        return command(arguments)
    except SystemExit:  # of argparse, after --help
        _flush()
        raise


def _flush() -> None:
    """Have what was printed accepted, unless its reader went away; OSError of a full disk."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _drop(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise


def _failed(error: OSError) -> str:
    return f"{error.filename or 'reading or writing'}: {error.strerror or error}"


def prepare_process() -> None:
    """Open the streams that the caller has closed, let any file name be printed, bound images.

    A closed stream's number would go to the next file that is opened, and a library that prints
    would write into it.
    """
    # OpenCV reads it once, when it is imported; its own limit would take several GB.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_IMAGE_PIXELS))
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            setattr(sys, name, os.fdopen(number, mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def one_line(message: str) -> str:
    """The message as a terminal can show it, and not endless."""
    text = printable(message)
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} …"


def printable(text: str) -> str:
    """The text on one line, without terminal commands: names out of a file may hold anything."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _drop(stream: TextIO) -> None:
    """What is still to be written goes nowhere: the interpreter's own flush would fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
