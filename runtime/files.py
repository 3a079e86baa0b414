"""Files that are whole or absent."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.errors import InputError


def existing_file(path: str | Path) -> Path:
    """The path, if it is a file that can be read; InputError otherwise."""
    path = Path(path)
    try:
        path.stat()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the path") from error
    except OSError as error:  # a name too long, a folder that may not be entered
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file")
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read; check its permissions")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; it was probably not written to the end")
    return path


def existing_folder(path: str | Path) -> Path:
    """The path, if it is a folder; InputError otherwise."""
    path = Path(path)
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise InputError(f"{path} {found}; expected a folder")
    return path


def output_folder(path: str | Path) -> Path:
    """The folder, made where it is missing; InputError if nothing can be written into it."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"nothing can be written into {path} ({error.strerror}); choose another folder"
        ) from error
    return path


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    The temporary name keeps the ending, since some writers choose their format by it.

    Raises InputError if the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); choose another place"
        ) from error
    finally:
        with suppress(OSError):  # where it could not be made, such as below a file
            temporary.unlink()


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
