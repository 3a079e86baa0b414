"""The table: every command with every kind of file that it reads, broken in every way."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tools.reliability.artifacts import (
    CANARY,
    CHECKPOINT,
    ONNX,
    PUBLISHED,
    SAFETENSORS,
    SIDECAR,
    VIDEO,
)
from tools.reliability.confined import GIB, Limits, Outcome, Server
from tools.reliability.mutations import COMMON, IMAGE, JSON, TEXT, Mutation, one_entry_wrong
from tools.reliability.shelf import CARD, DESCRIPTION

MEMORY_BOUND = 2 * GIB  # of any command with any of these files

DATA = "--data data --dataset data/dataset.json"
TRAIN = f"train --variant lw-mobilenetv2 {DATA} --epochs 1 --batch 2 --crop 32 --workers 0"


@dataclass(frozen=True)
class Trial:
    """kind: of the file. target: the file that is broken, on the shelf. command: what then runs.
    tolerates: what may be wrong with the file without a word from this command."""

    kind: str
    target: str
    command: str
    tolerates: Collection[str] = ()

    @property
    def name(self) -> str:
        return self.command.split()[0]


CARD_ENTRIES = one_entry_wrong(json.loads(CARD.to_json()))

# Kinds of file, and what can be wrong with each beside what can be with any.
KINDS: Mapping[str, Mapping[str, Mutation]] = MappingProxyType(
    {
        "weights": SAFETENSORS,
        "checkpoint": PUBLISHED,
        "backbone weights": CHECKPOINT,
        "training state": CHECKPOINT,
        "ONNX file": ONNX,
        "engine": {},
        "sidecar": SIDECAR,
        "card": {**JSON, **CARD_ENTRIES},
        "image": IMAGE,
        "label": IMAGE,
        "video": VIDEO,
        "description": {**JSON, **one_entry_wrong(DESCRIPTION)},
        "description in YAML": TEXT,
        "list of names": TEXT,
        "class names": TEXT,
        "ranges": JSON,
        "record": JSON,
        "Markdown page": TEXT,
    }
)

SEGMENT = "segment photo.png --model toy.fp32.onnx --output out.png"
BENCHMARK = "benchmark toy.fp32.onnx --images photo.png --size 48x64 --seconds 0.01 --rounds 1"

EVERYTHING = frozenset(name for entries in (COMMON, *KINDS.values()) for name in entries)
# A player shows what is there of a video, and says that there should be more.
CUT = ("a quarter", "half", "nine tenths", "last byte lost")
# inspect reads a file's card and size, not its tensors.
ONLY_THE_NETWORK_KNOWS = (
    *("a tensor too few", "a tensor too many", "no tensor", "no card", "a tensor of 10^12 values"),
    *("a card of 2 classes", "a card of another network", "a card of no network"),
    *("a card of a giant network",),
)
LAST_BYTE = ("last byte lost",)  # of a PNG, whose pixels are all there, or a text's end of line

TRIALS = (
    Trial("image", "data/images/val/0.png", f"data check {DATA.replace('--data ', '')}"),
    Trial("label", "data/labels/val/0.png", f"data check {DATA.replace('--data ', '')}", LAST_BYTE),
    Trial("description", "data/dataset.json", f"data check {DATA.replace('--data ', '')}"),
    Trial(
        "description in YAML", "data/dataset.yaml", "data check data --dataset data/dataset.yaml"
    ),
    Trial(
        "list of names",
        "data/val.txt",
        f"data check {DATA.replace('--data ', '')}",
        tolerates=EVERYTHING,
    ),
    Trial("image", "data/images/train/0.png", f"{TRAIN} --output out"),
    Trial("label", "data/labels/train/0.png", f"{TRAIN} --output out", LAST_BYTE),
    Trial("description", "data/dataset.json", f"{TRAIN} --output out"),
    Trial("list of names", "data/train.txt", f"{TRAIN} --output out", tolerates=EVERYTHING),
    Trial("weights", "toy.safetensors", f"{TRAIN} --output out --weights toy.safetensors"),
    Trial("checkpoint", "toy.pth", f"{TRAIN} --output out --weights toy.pth"),
    Trial(
        "backbone weights", "backbone.pth", f"{TRAIN} --output out --backbone-weights backbone.pth"
    ),
    Trial("training state", "run/state.pt", f"{TRAIN} --output run --resume", tolerates=EVERYTHING),
    Trial("weights", "toy.safetensors", f"evaluate toy.safetensors {DATA}"),
    Trial("checkpoint", "toy.pth", f"evaluate toy.pth {DATA}"),
    Trial("ONNX file", "toy.fp32.onnx", f"evaluate toy.fp32.onnx {DATA}"),
    Trial("engine", "toy.fp32.rtx.engine", f"evaluate toy.fp32.rtx.engine {DATA}"),
    Trial("card", "card.json", f"evaluate bare.onnx {DATA} --card card.json"),
    Trial("image", "data/images/val/0.png", f"evaluate toy.fp32.onnx {DATA} --save-masks out"),
    Trial(
        "label",
        "data/labels/val/0.png",
        f"evaluate toy.fp32.onnx {DATA} --json out.json",
        LAST_BYTE,
    ),
    Trial("weights", "toy.safetensors", "convert toy.safetensors out.safetensors --half"),
    Trial("checkpoint", "toy.pth", "convert toy.pth out.safetensors"),
    Trial(
        "class names",
        "names.txt",
        "convert toy.pth out.safetensors --classes names.txt",
        tolerates=EVERYTHING,
    ),
    Trial(
        "description",
        "data/dataset.json",
        "convert toy.pth out.safetensors --dataset data/dataset.json",
    ),
    Trial(
        "weights",
        "toy.safetensors",
        "export toy.safetensors --output out --precision fp32 --size 64x64",
    ),
    Trial("checkpoint", "toy.pth", "export toy.pth --output out --precision fp32 --size 64x64"),
    Trial(
        "ranges",
        "ranges.json",
        "export toy.safetensors --output out --size 64x64 --calibration ranges.json",
        LAST_BYTE,
    ),
    Trial(
        "image",
        "photo.png",
        "export toy.safetensors --output out --size 64x64 --calibration photo.png",
    ),
    Trial("ONNX file", "toy.fp32.onnx", "build toy.fp32.onnx --runtime rtx"),
    Trial(
        "sidecar",
        "toy.fp32.onnx.card.json",
        "build toy.fp32.onnx --runtime rtx",
        tolerates=EVERYTHING,
    ),
    Trial(
        "weights", "toy.safetensors", "verify street --weights toy.safetensors --images photo.png"
    ),
    Trial(
        "ONNX file",
        "street/street.fp32.onnx",
        "verify street --weights toy.safetensors --images photo.png",
    ),
    Trial(
        "sidecar",
        "street/street.fp32.onnx.card.json",
        "verify street --weights toy.safetensors --images photo.png",
        tolerates=EVERYTHING,
    ),
    Trial(
        "engine",
        "street/street.fp32.rtx.engine",
        "verify street --weights toy.safetensors --images photo.png",
    ),
    Trial("image", "photo.png", "verify street --weights toy.safetensors --images photo.png"),
    Trial(
        "label",
        "data/labels/val/0.png",
        f"verify street --weights toy.safetensors {DATA}",
        LAST_BYTE,
    ),
    Trial("ONNX file", "toy.fp32.onnx", f"{BENCHMARK} --json out.json"),
    Trial(
        "engine", "toy.fp32.rtx.engine", BENCHMARK.replace("toy.fp32.onnx", "toy.fp32.rtx.engine")
    ),
    Trial("image", "photo.png", BENCHMARK),
    Trial("label", "data/labels/val/0.png", f"{BENCHMARK} {DATA}", LAST_BYTE),
    Trial("record", "record.json", "report record.json"),
    Trial("Markdown page", "page.md", "report record.json --markdown page.md", LAST_BYTE),
    Trial("image", "photo.png", SEGMENT),
    Trial("image", "photo.jpg", SEGMENT.replace("photo.png", "photo.jpg")),
    Trial("image", "photo.bmp", SEGMENT.replace("photo.png", "photo.bmp")),
    Trial("image", "photo.tif", SEGMENT.replace("photo.png", "photo.tif")),
    Trial("image", "photo.webp", SEGMENT.replace("photo.png", "photo.webp") + " --overlay"),
    Trial(
        "video",
        "clip.mp4",
        "segment clip.mp4 --model toy.fp32.onnx --output out.mp4 --overlay",
        CUT,
    ),
    Trial("video", "clip.avi", "segment clip.avi --model toy.fp32.onnx --output out.mkv", CUT),
    Trial("ONNX file", "toy.fp32.onnx", SEGMENT),
    Trial("engine", "toy.fp32.rtx.engine", SEGMENT.replace("toy.fp32.onnx", "toy.fp32.rtx.engine")),
    Trial(
        "sidecar",
        "toy.fp32.rtx.engine.card.json",
        SEGMENT.replace("toy.fp32.onnx", "toy.fp32.rtx.engine"),
    ),
    Trial("card", "card.json", SEGMENT.replace("toy.fp32.onnx", "bare.onnx --card card.json")),
    Trial("weights", "toy.safetensors", "inspect toy.safetensors", ONLY_THE_NETWORK_KNOWS),
    Trial("ONNX file", "toy.fp32.onnx", "inspect toy.fp32.onnx"),
    Trial("engine", "toy.fp32.rtx.engine", "inspect toy.fp32.rtx.engine"),
    Trial(
        "sidecar",
        "toy.fp32.rtx.engine.card.json",
        "inspect toy.fp32.rtx.engine",
        tolerates=EVERYTHING,
    ),
    Trial("card", "card.json", "inspect bare.onnx --card card.json"),
)


@dataclass(frozen=True)
class Case:
    trial: Trial
    mutation: str

    @property
    def mutated(self) -> Mutation:
        return (COMMON | KINDS[self.trial.kind])[self.mutation]

    def __str__(self) -> str:
        return f"{self.trial.name}: {self.trial.kind} {self.trial.target}: {self.mutation}"


def cases() -> Iterator[Case]:
    for trial in TRIALS:
        for mutation in COMMON | KINDS[trial.kind]:
            yield Case(trial, mutation)


@dataclass(frozen=True)
class Result:
    """fault: what the command did wrong, or None."""

    case: Case
    outcome: Outcome
    fault: str | None


def run(case: Case, shelf: Path, room: Path, server: Server) -> Result:
    """Break the file in a copy of the shelf, and run the command there."""
    shutil.rmtree(room, ignore_errors=True)
    link_all(shelf, room)
    target = room / case.trial.target
    data = target.read_bytes()
    target.unlink()
    target.write_bytes(data)
    case.mutated.change(target, random.Random(str(case)))
    before = names_in(room)
    outcome = server.run(case.trial.command.split(), room, Limits())
    return Result(case, outcome, fault_in(case, outcome, names_in(room) - before))


def link_all(shelf: Path, room: Path) -> None:
    """A folder like the shelf, of links to its files."""
    shutil.copytree(
        shelf, room, copy_function=lambda source, target: Path(target).symlink_to(source)
    )


def names_in(room: Path) -> set[str]:
    return {str(path.relative_to(room)) for path in room.rglob("*") if not path.is_dir()}


def fault_in(case: Case, outcome: Outcome, new: set[str]) -> str | None:
    """What the command did wrong, or None. new: the files that were not there before."""
    if outcome.fault:
        return outcome.fault
    if outcome.peak_bytes > MEMORY_BOUND:
        return f"held {outcome.peak_bytes / GIB:.1f} GiB"
    if any(CANARY in name for name in new):
        return "ran the code in the file"
    if half := [name for name in new if ".part" in name]:
        return f"left {', '.join(half)}"
    if outcome.refused and new:
        return f"refused it and left {', '.join(sorted(new))}"
    if (
        case.mutated.refused
        and case.mutation not in case.trial.tolerates
        and outcome.exit_code == 0
    ):
        return f"took it: {outcome.stdout[-200:]!r}"
    return None
