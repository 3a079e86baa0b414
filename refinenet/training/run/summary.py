"""What a training says when it starts and when it ends."""

from __future__ import annotations

import csv
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from refinenet.data.datasets import LabelledImages
from refinenet.training.distributed import Processes
from refinenet.training.machine import described
from refinenet.training.options import TrainOptions
from refinenet.training.recipes.recipe import Recipe
from refinenet.training.run.state import TrainingState
from runtime.card import read_card
from runtime.files import existing_file


def announce(
    options: TrainOptions, state: TrainingState, images: LabelledImages, team: Processes
) -> None:
    """Print what is trained, on what and how."""
    if options.quiet or not team.is_first:
        return
    print(
        f"{options.variant} on {len(images)} images of {options.dataset}, "
        f"{described(team.device)}, processes {team.world}, loader processes {options.workers} each"
    )
    print(recipe_line(options.recipe))
    if state.epoch:
        print(f"goes on after epoch {state.epoch} of {options.recipe.epochs}")


def recipe_line(recipe: Recipe) -> str:
    """Every entry of a recipe, on one line."""
    entries = asdict(recipe)
    entries.update(entries.pop("augmentation"))
    return "recipe: " + ", ".join(f"{name} {_shown(value)}" for name, value in entries.items())


def time_summary(folder: Path) -> str:
    """How long an epoch took, what share of that went into waiting for data, and what was lost."""
    with existing_file(folder / "log.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    seconds = sum(float(row["seconds"]) for row in rows)
    waited = sum(float(row["data_seconds"]) for row in rows)
    return (
        f"{len(rows)} epochs of {seconds / len(rows):.1f} s, "
        f"{waited / max(seconds, 1e-9):.1%} of it waiting for data"
    )


def skipped_steps(folder: Path) -> int:
    """How many steps of the whole training overflowed in fp16."""
    with existing_file(folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return sum(int(row["skipped_steps"]) for row in csv.DictReader(file))


def result_table(best: Path) -> str:
    """The best epoch, its mIoU and the IoU of every class, in percent, from the weights' card."""
    card = read_card(best)
    result = card.details["result"]
    by_class = result.get("class_iou", {})  # missing where an earlier version was the best
    width = max(map(len, ("mIoU", *card.classes)))
    rows = [f"{name:<{width}} {_percent(by_class[name]):>6}" for name in card.classes if by_class]
    total = f"{'mIoU':<{width}} {_percent(result['val_miou']):>6}  on val, epoch {result['epoch']}"
    return "\n".join([*rows, total])


def next_command(best: Path, images: Iterable[Path]) -> str:
    """The export of the best weights, calibrated on the training images."""
    folder = os.path.commonpath([image.parent for image in images])
    output = best.parent / "export"
    command = ["refinenet", "export", str(best), "--output", str(output), "--calibration", folder]
    return f"next: {shlex.join(command)}"


def resume_command(folder: Path, arguments: Sequence[str]) -> str:
    """How an interrupted training goes on; arguments: those of `refinenet train`."""
    if not (folder / "state.pt").exists():
        arguments = [argument for argument in arguments if argument != "--resume"]
        return f"nothing is kept of the first epoch; start again with: {_command(arguments)}"
    if "--resume" not in arguments:
        arguments = [*arguments, "--resume"]
    return f"{folder} keeps the whole epochs; go on with: {_command(arguments)}"


def _command(arguments: Sequence[str]) -> str:
    return shlex.join(["refinenet", "train", *arguments])


def _percent(share: float | None) -> str:
    return "-" if share is None or share != share else f"{100 * share:.2f}"


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
