"""One folder of images by many processes, each with a shard of its own; and a run that goes on
where another one ended.

An image's shard follows from its name alone. Every image is in exactly one shard, whatever is added
to the folder between the start of one process and that of the next.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
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
        """name: of the image, from the source folder on.

        By SHA-256, since the low bits of a CRC hardly tell numbered names apart: of the images
        a.png to g.png all were in one half.
        """
        digest = hashlib.sha256(os.fsencode(name)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index


def shard(text: str) -> Shard:
    """I/N, for argparse."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f"'{text}'; expected I/N with I from 0 to N-1, as in 0/4")
    return Shard(int(index), int(count))


def add_shards(parser: argparse.ArgumentParser) -> None:
    """The options --shard and --skip-existing."""
    parser.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="of a folder's images, only part I of N, from 0 to N-1: one for each of N processes",
    )
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out a folder's images whose output is there: go on where a run was ended",
    )


def refuse_shards(part: Shard | None, skip_existing: bool) -> None:
    """InputError if either option was given."""
    if part is not None or skip_existing:
        raise InputError("--shard and --skip-existing are for folders of images; leave them out")


@dataclass(frozen=True)
class Target:
    """output: the folder. model: a file, or the address of a served model. card: of a model that
    carries none. look: what is written, such as "overlay"."""

    output: Path
    model: Path | str
    card: Path | None
    look: Sequence[str]


def left_to_do(
    planned: Sequence[tuple[Path, Path]],
    source: Path,
    target: Target,
    part: Shard | None,
    skip_existing: bool,
) -> tuple[list[tuple[Path, Path]], list[str]]:
    """The shard's images without those that are done, and what the user may want to know of them.

    planned: every image of the source and the file that is written for it. A file is written whole
    or not at all, so that one that exists is finished.

    Raises InputError if the source is no folder, or if the output holds files of another model.
    """
    if not source.is_dir():
        refuse_shards(part, skip_existing)
        return list(planned), []
    own = [
        (image, file)
        for image, file in planned
        if part is None or part.holds(image.relative_to(source).as_posix())
    ]
    is_empty = not any(file.exists() for _, file in planned)
    if not skip_existing:
        _check_no_earlier_run(target.output, is_empty)
        return own, []
    left = [pair for pair in own if not pair[1].exists()]
    _check_same_run(target, is_empty)
    there = len(own) - len(left)
    return left, [f"{there} files were there"] if there else []


def _check_same_run(target: Target, is_empty: bool) -> None:
    """Keep in the output folder what its files are made with, and refuse to go on with another.

    is_empty: no image has its file yet; what an earlier run noted then holds for nothing.
    """
    made = {
        "model": _identity(target.model),
        "card": None if target.card is None else sha256_of(existing_file(target.card)),
        "look": list(target.look),
    }
    note = target.output / NOTE
    if not is_empty and not note.exists():
        raise InputError(
            f"{target.output} holds files, and nothing says which model made them; --skip-existing "
            "could mix two models' masks. Choose another --output, or delete the files"
        )
    if is_empty:
        with written_whole(note) as temporary:
            temporary.write_text(json.dumps(made) + "\n", encoding="utf-8")
        return
    try:
        before = json.loads(small_text(note))
    except ValueError:
        before = None
    if before != made:
        raise InputError(
            f"{target.output} holds files of another model or of other options, and "
            "--skip-existing would mix them with these; choose another --output, or delete the "
            f"files and {NOTE}"
        )


def _check_no_earlier_run(output: Path, is_empty: bool) -> None:
    """Files written over those of such a run would make its note untrue."""
    if (output / NOTE).exists() and not is_empty:
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
