"""The commands of this package: train and evaluate."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from runtime.arguments import DONE, Parser, positive
from runtime.files import existing_file


def train(arguments: Sequence[str]) -> int:
    """refinenet train: labelled images to weights."""
    from refinenet.train import TrainOptions, train

    parser = Parser(
        "train",
        "Train a network. The run folder holds the best weights by validation mIoU\n"
        "(best.safetensors), a log (log.csv), and the exact state to resume from (state.pt).",
        "refinenet train --variant lw-mobilenetv2 --data camvid --output runs/camvid\n"
        "    --backbone-weights mobilenetv2_imagenet.pth",
    )
    parser.add_argument("--variant", required=True, help="such as lw-mobilenetv2 or refinenet-101")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dataset", default="camvid", help="camvid or voc (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="RUN_DIR")
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN_DIR")
    parser.add_argument(
        "--backbone-weights", type=Path, metavar="FILE", help="ImageNet weights, torchvision's keys"
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights to fine-tune instead")
    parser.add_argument("--workers", type=int, default=1, help="loader processes (default: 1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--validate-every", type=positive, default=1, metavar="EPOCHS", help="(default: 1)"
    )
    parser.add_argument("--half", action="store_true", help="store the best weights as float16")
    _add_recipe(parser)
    given = vars(parser.parse_args(arguments))
    options = TrainOptions(recipe=_recipe(given), **given)
    best = train(options)
    print(f"{best}  {best.stat().st_size / 1e6:.1f} MB")
    return DONE


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    from refinenet.train import Recipe

    recipe = Recipe()
    group = parser.add_argument_group("recipe")
    for name, kind, meaning in (
        ("epochs", positive, "passes over the training images"),
        ("batch", positive, "images per step"),
        ("backbone_lr", float, "initial learning rate of the backbone"),
        ("decoder_lr", float, "initial learning rate of everything else"),
        ("weight_decay", float, ""),
        ("warmup", float, "share of the training in which the learning rates rise"),
        ("ema", float, "decay of the averaged weights, which are kept; 0 for none"),
        ("seed", int, ""),
    ):
        default = getattr(recipe, name)
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            default=default,
            help=f"{meaning} (default: {default})".strip(),
        )
    for name, allowed in (
        ("optimizer", ("adamw", "sgd")),
        ("schedule", ("poly", "step")),
        ("class_weights", ("none", "sqrt")),
    ):
        group.add_argument(
            f"--{name.replace('_', '-')}", choices=allowed, default=getattr(recipe, name)
        )
    augmentation = recipe.augmentation
    group.add_argument(
        "--crop", type=positive, default=augmentation.crop, help="pixels (default: %(default)s)"
    )
    group.add_argument(
        "--scale-range",
        type=float,
        nargs=2,
        default=augmentation.scales,
        metavar=("MIN", "MAX"),
        help="of the random scale (default: %(default)s)",
    )
    group.add_argument(
        "--colour", type=float, default=augmentation.colour, help="jitter (default: %(default)s)"
    )


def _recipe(given: dict[str, Any]) -> Any:
    """Take the recipe's options out of the given ones."""
    from refinenet.augmentation import Augmentation
    from refinenet.train import Recipe

    low, high = given.pop("scale_range")
    augmentation = Augmentation(given.pop("crop"), (low, high), given.pop("colour"))
    names = {field.name for field in fields(Recipe)} & given.keys()
    return Recipe(augmentation=augmentation, **{name: given.pop(name) for name in sorted(names)})


def evaluate(arguments: Sequence[str]) -> int:
    """refinenet evaluate: IoU per class."""
    parser = Parser(
        "evaluate",
        "Per-class IoU, mIoU and pixel accuracy of weights (.safetensors, .pth), ONNX files and\n"
        "engines on a labelled split, in percent.",
        "refinenet evaluate lw-mobilenetv2-camvid --data camvid --split val",
    )
    parser.add_argument("model", help="a file, or the name of shipped weights")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dataset", default="camvid", help="camvid or voc (default: %(default)s)")
    parser.add_argument("--split", default="val", help="(default: %(default)s)")
    parser.add_argument(
        "--scales", type=_scales, default=(1.0,), metavar="0.75,1,1.25", help="scores are averaged"
    )
    parser.add_argument("--flip", action="store_true", help="average with the mirror image")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, for weights")
    parser.add_argument("--limit", type=positive, help="at most so many images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    given = vars(parser.parse_args(arguments))
    return _evaluate(given.pop("json"), given)


def _evaluate(json_file: Path | None, given: dict[str, Any]) -> int:
    from refinenet.checkpoints import weights_path
    from refinenet.evaluate import EvaluateOptions, evaluate, save_json, table
    from runtime.files import sha256_of

    options = EvaluateOptions(**given)
    model = existing_file(weights_path(options.model))
    matrix, card = evaluate(options)
    print(table(matrix, card))
    if json_file is not None:
        conditions = {
            "model": options.model,
            "sha256": sha256_of(model),
            "dataset": options.dataset,
            "split": options.split,
            "scales": options.scales,
            "flip": options.flip,
            "limit": options.limit,
        }
        save_json(json_file, matrix, card, conditions)
    return DONE


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or any(not 0.1 <= scale <= 4 for scale in scales):
        raise argparse.ArgumentTypeError(f"'{text}'; expected scales of 0.1 to 4, such as 0.75,1")
    return scales
