"""Files that are whole or absent."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runtime.errors import InputError

MAX_SMALL_BYTES = 32 * 2**20  # parsed, text takes up to 25 times as much


def existing_file(path: str | Path) -> Path:
    """The path, if it is a file that can be read; InputError otherwise."""
    path = Path(path)
    try:
        path.stat()
    except (FileNotFoundError, ValueError) as error:  # the latter from a null byte in the name
        raise InputError(f"{path} does not exist; check the path") from error
    except OSError as error:  # a name too long, a folder that may not be entered
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path") from error
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected a file")
    if not path.is_file():
        raise InputError(f"{path} is a pipe or a device; expected a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read; check its permissions")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; it was probably not written to the end")
    return path


def small_file(path: str | Path) -> bytes:
    """The content of a card, a list, a description or a record.

    Raises InputError if it cannot be read, or is far larger than such a file can be.
    """
    path = existing_file(path)
    if (size_bytes := path.stat().st_size) > MAX_SMALL_BYTES:
        raise InputError(
            f"{path} has {size_bytes / 2**20:.0f} MiB; expected text of at most "
            f"{MAX_SMALL_BYTES // 2**20} MiB. Check the path"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the disk") from error


def small_text(path: str | Path) -> str:
    """The same as text, without a byte order mark; InputError if it is not UTF-8."""
    try:
        return small_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not a text file in UTF-8 ({error.reason} at byte {error.start}); "
            "write it anew"
        ) from error


def existing_folder(path: str | Path) -> Path:
    """The path, if it is a folder; InputError otherwise."""
    path = Path(path)
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise InputError(f"{path} {found}; expected a folder")
    return path


def files_below(folder: Path) -> Iterator[Path]:
    """Every file of a folder and of those below it, in no order.

    Hidden files and folders, whose names begin with a dot, are passed over: a Mac leaves a ._NAME
    beside every file that it copies. Links to folders are followed, since data sets are often put
    together from them. InputError for a link that leads back to a folder which holds it.
    """
    waiting = [(folder, frozenset({os.path.realpath(folder)}))]
    while waiting:
        inside, above = waiting.pop()
        try:
            entries = list(os.scandir(inside))
        except OSError as error:
            raise InputError(
                f"{inside} cannot be read ({error.strerror}); check its permissions"
            ) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = inside / entry.name
            if not _is_folder(entry):
                yield path
                continue
            real = os.path.realpath(path)
            if real in above:
                raise InputError(
                    f"{path} is a link to {real}, which holds it: the folders go round in a "
                    "circle. Remove the link"
                )
            waiting.append((path, above | {real}))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; reading it as a file says what is wrong with it
        return False


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

    The temporary name keeps the ending, since some writers choose their format by it. The content
    is on the disk before the name is: after a power cut there is the old file or the new one.

    Raises InputError if the folder cannot be written to or the disk is full.
    """
    path = Path(path)
    # No longer than the name itself may be: file systems take 255 bytes.
    kind = f".{path.stem[:40]}.{zlib.crc32(os.fsencode(path.name)):08x}"
    temporary = path.with_name(f"{kind}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent, kind)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); choose another place"
        ) from error
    finally:
        with suppress(OSError):  # where it could not be made, such as below a file
            temporary.unlink()


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Wait until no other process is within this block for the folder: a file and the card beside
    it are then written by one process, and the last one's pair stays.

    The lock is on the folder itself, which leaves nothing behind. Windows has no such lock, nor
    have some network file systems: there a pair of two processes is refused when it is opened.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl  # a Unix's alone

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # written_whole says what is wrong with it, where it is wrong for writing
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # and so unlocked


def _remove_abandoned(folder: Path, kind: str) -> None:
    """Delete what processes left that were killed while they wrote the same file."""
    for part in folder.glob(f"{glob.escape(kind)}.*.part*"):
        process = part.name.removeprefix(f"{kind}.").partition(".")[0]
        ended = Path("/proc/self").exists() and not Path(f"/proc/{process}").exists()
        if process.isdecimal() and ended:
            part.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Have the disk take what was written; an error of a write that was put off comes here."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
