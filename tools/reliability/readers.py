"""Every reader of the project's own, as a function of bytes, with a whole file to start from."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from refinenet.__main__ import main
from refinenet.activation_ranges import load_ranges
from refinenet.checkpoints.load import load_plain
from refinenet.data.datasets import read_label
from refinenet.data.description import read_description
from refinenet.data.layout import Split, list_names
from runtime.arguments import one_line
from runtime.card import read_card, read_sidecar
from runtime.errors import DeployError
from runtime.files import small_text
from runtime.frames import read_frame
from runtime.metadata import embedded_metadata
from runtime.onnx.graph import read_graph

WORDS = (
    *(
        "--quiet",
        "--output",
        "--model",
        "--card",
        "--json",
        "--limit",
        "--size",
        "--batch",
        "--help",
    ),
    *(
        "--data",
        "--dataset",
        "--split",
        "--images",
        "--weights",
        "--target",
        "--seconds",
        "-1",
        "0",
    ),
    *("1e999", "nan", "360x480", "0x0", "9" * 40, "a,b,,", "", "--", "-", "nothing.onnx"),
    *(
        "nothing.safetensors",
        "nothing.engine",
        "nothing.json",
        "nothing.png",
        "é\udcff",
        "\n",
        "%s",
    ),
    *("inspect", "segment", "report", "convert", "build", "verify", "evaluate", "benchmark"),
    *(
        "data",
        "check",
        "--variant",
        "lw-50",
        "--epochs",
        "--scales",
        "--tile",
        "--overlap",
        "=",
        "@x",
    ),
)


@dataclass(frozen=True)
class Reader:
    """read: raises a DeployError, or nothing, whatever the file holds. file: the whole one, on the
    shelf; None for a command line, whose bytes choose among WORDS."""

    read: Callable[[Path], object]
    file: str | None


def read_record(path: Path) -> object:
    from benchmarks.records.record import read_record  # late: it changes most

    return read_record(path)


def command_line(path: Path) -> None:
    """The command runs in the folder of the file, in which there is nothing to find."""
    words = [WORDS[byte % len(WORDS)] for byte in path.read_bytes()[:12]]
    try:
        code = main(words)
    except SystemExit as end:  # --help
        code = int(end.code or 0)
    assert code in (0, 1, 2), f"{words}: exit code {code}"


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "card": Reader(lambda path: read_card(path.with_name("bare.onnx"), path), "card.json"),
        "sidecar": Reader(
            lambda path: read_sidecar(path.with_name(path.name.removesuffix(".card.json"))),
            "toy.fp32.onnx.card.json",
        ),
        "safetensors header": Reader(embedded_metadata, "small.safetensors"),
        "ONNX metadata": Reader(embedded_metadata, "toy.fp32.onnx"),
        "ONNX graph": Reader(read_graph, "toy.fp32.onnx"),
        "card inside": Reader(read_card, "toy.fp32.onnx"),
        "checkpoint": Reader(load_plain, "small.pth"),
        "ranges": Reader(load_ranges, "ranges.json"),
        "description": Reader(read_description, "data/dataset.json"),
        "description in YAML": Reader(read_description, "data/dataset.yaml"),
        "list of names": Reader(
            lambda path: list_names(Split("{name}", "{name}", path.name), path.parent),
            "data/val.txt",
        ),
        "text": Reader(small_text, "names.txt"),
        "image": Reader(read_frame, "photo.jpg"),
        "label": Reader(read_label, "data/labels/val/0.png"),
        "record": Reader(read_record, "record.json"),
        "command line": Reader(command_line, None),
    }
)


def fault_of(reader: Reader, path: Path) -> str | None:
    """What the reader does wrong with the file, or None."""
    try:
        reader.read(path)
    except DeployError as error:
        return None if one_line(str(error)) else "an error without a message"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return None


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with a few parts left out, doubled, overwritten, or replaced by others' parts."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(changed) + 1)
        end = min(len(changed), start + rng.choice((0, 1, 1, 2, 4, 8, 50)))
        part = changed[start:end]
        changed[start:end] = rng.choice(
            (b"", part * 2, rng.randbytes(len(part) or 1), rng.choice(TOKENS), bytes(len(part)))
        )
    return bytes(changed)


# What a parser may stumble over.
TOKENS = (
    *(
        b"[",
        b"]",
        b"{",
        b"}",
        b":",
        b",",
        b'"',
        b"\\",
        b"\n",
        b"\0",
        b"-",
        b"1e999",
        b"NaN",
        b"null",
    ),
    *(b"true", b"9" * 400, b"[" * 2000, b"{name}", b"\xff", b"\xff" * 8, b"\x80" * 10, b"&a [*a]"),
    *(
        b"<<: *a",
        b"!!python/object:os.system",
        b"..",
        b"/",
        b"\\u0000",
        b"\\ud800",
        b"\xef\xbb\xbf",
    ),
)
