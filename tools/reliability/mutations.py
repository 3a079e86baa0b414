"""What can be wrong with a file: each entry turns a whole file into a hostile one, in its place."""

from __future__ import annotations

import json
import os
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

Change = Callable[[Path, random.Random], None]


@dataclass(frozen=True)
class Mutation:
    """refused: whether every command must refuse the file; where False, what a reader makes of the
    rest is its own affair, as long as it ends well."""

    change: Change
    refused: bool = True


def of_bytes(change: Callable[[bytes, random.Random], bytes], refused: bool = True) -> Mutation:
    def apply(path: Path, rng: random.Random) -> None:
        path.write_bytes(change(path.read_bytes(), rng))

    return Mutation(apply, refused)


def of_json(change: Callable[[Any], Any], refused: bool = True) -> Mutation:
    def apply(path: Path, _: random.Random) -> None:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return Mutation(apply, refused)


def cut_to(length: int) -> Mutation:
    return of_bytes(lambda data, _: data[:length])


def cut_by_share(share: float) -> Mutation:
    return of_bytes(lambda data, _: data[: int(len(data) * share)])


def flipped(count: int, within: int | None = None) -> Mutation:
    """So many bits, anywhere in the first `within` bytes."""

    def change(data: bytes, rng: random.Random) -> bytes:
        changed = bytearray(data)
        for _ in range(count):
            changed[rng.randrange(min(len(data), within or len(data)))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return of_bytes(change, refused=False)


def _folder(path: Path, _: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, _: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _endless(path: Path, _: random.Random) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _loop(path: Path, _: random.Random) -> None:
    path.unlink()
    path.symlink_to(path)


# Of any kind of file.
COMMON = MappingProxyType(
    {
        "missing": Mutation(lambda path, _: path.unlink()),
        "empty": Mutation(lambda path, _: path.write_bytes(b"") and None),
        "a folder": Mutation(_folder),
        "a pipe": Mutation(_pipe),
        "/dev/zero": Mutation(_endless),
        "a link to itself": Mutation(_loop),
        "text": of_bytes(lambda *_: b"Nothing of this kind.\n" * 40),
        "one byte": cut_to(1),
        "8 bytes": cut_to(8),
        "100 bytes": cut_to(100),
        "a quarter": cut_by_share(0.25),
        "half": cut_by_share(0.5),
        "nine tenths": cut_by_share(0.9),
        "last byte lost": of_bytes(lambda data, _: data[:-1]),
        "zeros": of_bytes(lambda data, _: bytes(len(data))),
        "noise": of_bytes(lambda data, rng: rng.randbytes(len(data))),
        "something behind": of_bytes(lambda data, rng: data + rng.randbytes(1000), refused=False),
        "a bit of the head": flipped(1, within=64),
        "another bit of the head": flipped(1, within=64),
        "8 bits of the head": flipped(8, within=512),
        "a bit anywhere": flipped(1),
        "100 bits anywhere": flipped(100),
    }
)

_DEEP = 100_000


def _nested(*_: object) -> bytes:
    return b"[" * _DEEP + b"]" * _DEEP


TEXT = MappingProxyType(
    {
        "Latin-1": of_bytes(lambda *_: b'{"stra\xdfe": 1}'),
        "UTF-16": of_bytes(lambda data, _: data.decode().encode("utf-16"), refused=False),
        "a null byte": of_bytes(lambda data, _: b"\0" + data),
    }
)
JSON = MappingProxyType(
    {
        **TEXT,
        "100,000 levels deep": of_bytes(_nested),
        "a number of 100,000 digits": of_bytes(lambda *_: b'{"a": ' + b"9" * _DEEP + b"}"),
        "a list": of_json(lambda value: [value]),
        "a string": of_json(lambda _: "x"),
        "null": of_json(lambda _: None),
        "no entries": of_json(lambda _: {}),
        "all entries null": of_json(lambda value: dict.fromkeys(value)),
        "all entries lists": of_json(lambda value: {key: [] for key in value}),
        "all entries objects": of_json(lambda value: {key: {} for key in value}),
        "all entries huge": of_json(lambda value: dict.fromkeys(value, 10**400)),
        "all entries NaN": of_json(lambda value: dict.fromkeys(value, float("nan"))),
        "an unknown entry": of_json(lambda value: value | {"surprise": 1}, refused=False),
    }
)


def one_entry_wrong(content: dict[str, Any]) -> dict[str, Mutation]:
    """Each entry in turn replaced by what it cannot be; `details` hold anything."""
    return {
        f"{key} is {wrong!r}": of_json(lambda value, key=key, wrong=wrong: value | {key: wrong})
        for key in sorted(content.keys() - {"details"})
        for wrong in ({"x": [[]]}, -1.5)
    }


def png(width: int, height: int, rows: bytes = b"", bits: int = 8, colour: int = 0) -> bytes:
    """A PNG file that claims this size and holds these rows, already filtered."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows, 9)),
            chunk(b"IEND", b""),
        )
    )


IMAGE = MappingProxyType(
    {
        "claims 100,000 x 100,000 pixels": of_bytes(lambda *_: png(100_000, 100_000, bytes(1000))),
        "claims 2^31 - 1 pixels a side": of_bytes(lambda *_: png(2**31 - 1, 2**31 - 1)),
        "claims 0 pixels": of_bytes(lambda *_: png(0, 10)),
        "20,000 x 20,000 pixels": of_bytes(lambda *_: png(20_000, 20_000, bytes(2501 * 20_000), 1)),
        "30,000 x 30,000 pixels": of_bytes(lambda *_: png(30_000, 30_000, bytes(3751 * 30_000), 1)),
    }
)
