"""The options of `refinenet train` that say how to train: a preset, and any number of it anew."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from refinenet.data.augmentation import Augmentation
from refinenet.training.recipes.recipe import PRESETS, Recipe
from runtime.arguments import positive, whole

PAPER, DEFAULT = "paper", "camvid-mobilenet"


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """--preset, and one option for every entry of a recipe; without it, the preset's holds."""
    group = parser.add_argument_group("recipe: a preset, and what to take from elsewhere")
    group.add_argument(
        "--preset",
        choices=(*PRESETS, PAPER),
        help="docs/training.md tells them apart; paper is the one of the variant's own paper "
        f"(default: {DEFAULT}, with the batch and the precision that data and machine allow)",
    )

    def add(name: str, kind: Callable[[str], Any], metavar: str, meaning: str) -> None:
        group.add_argument(
            name, type=kind, metavar=metavar, help=meaning, default=argparse.SUPPRESS
        )

    def add_choice(name: str, *allowed: str, meaning: str) -> None:
        group.add_argument(name, choices=allowed, help=meaning, default=argparse.SUPPRESS)

    add("--epochs", positive, "N", "passes over the training images")
    add("--batch", positive, "N", "images per step, over all processes and accumulated parts")
    add_choice("--optimizer", "adamw", "sgd", meaning="")
    add("--momentum", float, "SHARE", "of sgd")
    add("--backbone-lr", float, "RATE", "initial learning rate of the backbone")
    add("--decoder-lr", float, "RATE", "initial learning rate of everything else")
    add("--weight-decay", float, "RATE", "")
    add_choice("--decayed", "weights", "all", meaning="weights: not biases and norms")
    add_choice("--schedule", "poly", "step", meaning="of the learning rates")
    add("--poly-power", float, "POWER", "of --schedule poly: (1 - progress) ** POWER")
    add("--step-factors", _numbers, "1,0.5,0.2", "of --schedule step: one for each equal stage")
    add("--warmup", float, "SHARE", "of the training in which the learning rates rise")
    add_choice("--loss-at", "image", "output", meaning="size at which scores meet labels")
    add_choice(
        "--class-weights",
        *("none", "sqrt", "median"),
        meaning="rare classes count for more: by sqrt somewhat, by median in full",
    )
    add("--ema", float, "DECAY", "of the averaged weights, which are kept; 0 for no averaging")
    add_choice("--precision", "fp32", "bf16", "fp16", meaning="of the forward pass; fp16 on CUDA")
    add("--clip-norm", float, "NORM", "largest norm of the gradients; 0 for no clipping")
    add("--patience", whole, "EPOCHS", "stop after so many without a better mIoU; 0 for never")
    add("--seed", whole, "N", "")
    add("--crop", positive, "PIXELS", "side of the square samples")
    add("--shorter-side", whole, "PIXELS", "least length of it after scaling; 0 for no such limit")
    add("--flip", float, "SHARE", "of the samples that are mirrored")
    add("--colour", float, "SHARE", "largest change of brightness, contrast, saturation")
    group.add_argument(
        "--scale-range",
        type=float,
        nargs=2,
        dest="scales",
        metavar=("MIN", "MAX"),
        help="of the random scale",
        default=argparse.SUPPRESS,
    )


def take_recipe(given: dict[str, Any]) -> tuple[Recipe, frozenset[str]]:
    """Take the recipe's options out of the given ones, of which `variant` stays.

    Returns the recipe, and the names of the entries that nobody asked for: all that are not given,
    unless a preset is asked for, which gives all.

    Raises InputError for a number out of range, or an unknown variant where its paper is asked for.
    """
    name = given.pop("preset")
    preset = PRESETS[DEFAULT if name is None else _preset_name(name, given["variant"])]
    entries = {field.name for kind in (Recipe, Augmentation) for field in fields(kind)}
    unasked = frozenset(entries - given.keys()) if name is None else frozenset()
    if "scales" in given:
        low, high = given["scales"]
        given["scales"] = (low, high)
    augmentation = replace(preset.augmentation, **_taken(given, Augmentation))
    return replace(preset, augmentation=augmentation, **_taken(given, Recipe)), unasked


def _preset_name(given: str, variant: str) -> str:
    if given != PAPER:
        return given
    from refinenet.variants import VARIANTS, split_variant  # late: it imports torch

    return VARIANTS[split_variant(variant)[0]].recipe


def _taken(given: dict[str, Any], kind: type[Augmentation] | type[Recipe]) -> Mapping[str, Any]:
    names = {field.name for field in fields(kind)} & given.keys()
    return {name: given.pop(name) for name in sorted(names)}


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}'; expected numbers with commas between, such as 1,0.5,0.2"
        ) from error
