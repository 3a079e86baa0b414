"""One folder of images by many processes, each with a shard of its own; and a run that goes on
where another one ended.

An image's shard follows from its name alone. Every image is in exactly one shard, whatever is added
to the folder between the start of one process and that of the next.
"""

from __future__ import annotations

import argparse
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import InputError
from runtime.files import existing_file, sha256_of, small_text, written_whole

NOTE = ".segment.json"  # in the output folder; a dot, so that it is taken for no mask


@dataclass(frozen=True)
class Shard:
    """index: 0 to count - 1, as Kubernetes' JOB_COMPLETION_INDEX and torchrun's RANK count."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, name: str) -> bool:
        """name: of the image, from the source folder on."""
        return zlib.crc32(os.fsencode(name)) % self.count == self.index


def shard(text: str) -> Shard:
    """I/N, for argparse."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"'{text}'; expected I/N with I from 0 to N-1, as in 0/4")
    return Shard(int(index), int(count))


def rest(
    source: Path,
    planned: Sequence[tuple[Path, Path]],
    part: Shard | None,
    skip_existing: bool,
) -> tuple[list[tuple[Path, Path]], int]:
    """The shard's images without those whose target exists, and how many those are.

    A target is written whole or not at all, so that one that exists is finished.
    """
    own = [
        (image, target)
        for image, target in planned
        if part is None or part.holds(image.relative_to(source).as_posix())
    ]
    left = [pair for pair in own if not (skip_existing and pair[1].exists())]
    return left, len(own) - len(left)


def check_same_run(output: Path, model: Path | str, card: Path | None, look: Sequence[str]) -> bool:
    """Keep in the output folder what its files are made with, and refuse to go on with another.

    model: a file, or the address of a served model. look: what is written, such as "overlay".

    Returns whether the folder told what its files were made with; False for the first such run.
    Raises InputError if that was another model, card or look.
    """
    made = {
        "model": _identity(model),
        "card": None if card is None else sha256_of(existing_file(card)),
        "look": list(look),
    }
    note = output / NOTE
    if not note.exists():
        with written_whole(note) as temporary:
            temporary.write_text(json.dumps(made) + "\n", encoding="utf-8")
        return False
    try:
        before = json.loads(small_text(note))
    except ValueError:
        before = None
    if before != made:
        raise InputError(
            f"{output} holds files of another model or of other options, and --skip-existing would "
            f"mix them with these; choose another --output, or delete the files and {NOTE}"
        )
    return True


def check_no_earlier_run(output: Path) -> None:
    """InputError if the folder says what its files were made with: files written over them would
    make that untrue."""
    if (output / NOTE).exists():
        raise InputError(
            f"{output} was filled with --skip-existing; go on with that, choose another --output, "
            f"or delete the files and {NOTE}"
        )


def _identity(model: Path | str) -> str:
    """The hash of the file; where a server does not say it, the address."""
    if isinstance(model, Path):
        return sha256_of(existing_file(model))
    from runtime.remote.served_model import served_model

    return served_model(model).sha256 or model
