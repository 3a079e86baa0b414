"""The commands of this package: data, train, evaluate, convert."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from runtime.arguments import DONE, Parser, positive, size, whole
from runtime.errors import CheckFailed, InputError

DATASET_HELP = "a name of docs/datasets.md, or a .json or .yaml file (default: %(default)s)"


def data(arguments: Sequence[str]) -> int:
    """refinenet data check: what is wrong with labelled images, and how often each class occurs."""
    from refinenet.data.check import CheckOptions, check_dataset, problem_list, table

    parser = Parser(
        "data",
        "Read every image with its label. Missing and unreadable files, labels of another size,\n"
        "unknown ids, labels without an image and images in two splits are problems; exit code 1.\n"
        "Each class is shown with its share of the labelled pixels and the images that hold it.",
        "refinenet data check camvid --dataset camvid",
    )
    parser.add_argument("action", choices=("check",))
    parser.add_argument("data", type=Path, metavar="DIR", help="the dataset's folder")
    parser.add_argument("--dataset", default="camvid", help=DATASET_HELP)
    parser.add_argument(
        "--split",
        dest="splits",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="train,val",
        help="(default: all that are there)",
    )
    given = vars(parser.parse_args(arguments))
    del given["action"]
    findings = check_dataset(CheckOptions(**given))
    print(table(findings))
    if findings.problems:
        print(f"\n{problem_list(findings)}")
        raise CheckFailed(f"{len(findings.problems)} problems in {given['data']}")
    return DONE


def train(arguments: Sequence[str]) -> int:
    """refinenet train: labelled images to weights."""
    from refinenet.train import TrainOptions, train
    from refinenet.training.distributed import is_first_process
    from refinenet.training.recipe_options import add_recipe_options, take_recipe
    from refinenet.training.run_folder import time_summary

    parser = Parser(
        "train",
        "Train a network. The run folder holds the best weights by validation mIoU\n"
        "(best.safetensors), a log (log.csv), and the exact state to resume from (state.pt).\n"
        "Several GPUs or machines: torchrun, as docs/training.md shows.",
        "refinenet train --variant lw-mobilenetv2 --data camvid --output runs/camvid\n"
        "    --backbone-weights mobilenetv2_imagenet.pth\n"
        "  torchrun --nproc-per-node 4 -m refinenet train --variant lw-101 --preset light-weight\n"
        "    --batch 8 --data VOC2012 --dataset voc --output runs/voc --device cuda",
    )
    parser.add_argument("--variant", required=True, help="such as lw-mobilenetv2 or refinenet-101")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dataset", default="camvid", metavar="NAME|FILE", help=DATASET_HELP)
    parser.add_argument("--output", type=Path, required=True, metavar="RUN_DIR")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in RUN_DIR, if there is one"
    )
    parser.add_argument(
        "--backbone-weights", type=Path, metavar="FILE", help="ImageNet weights, torchvision's keys"
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights to fine-tune instead")
    parser.add_argument(
        "--validate-every", type=positive, default=1, metavar="EPOCHS", help="(default: 1)"
    )
    parser.add_argument("--half", action="store_true", help="store the best weights as float16")
    parser.add_argument("--tensorboard", action="store_true", help="log to RUN_DIR/tensorboard too")
    _add_means(parser.add_argument_group("means: these change the speed, not the recipe"))
    add_recipe_options(parser)
    given = vars(parser.parse_args(arguments))
    options = TrainOptions(recipe=take_recipe(given), **given)
    best = train(options)
    if is_first_process():
        print(time_summary(options.output))
        print(f"{best}  {best.stat().st_size / 1e6:.1f} MB")
    return DONE


def _add_means(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    group.add_argument(
        "--workers",
        type=whole,
        default=1,
        help="loader processes; 0 loads in the training process itself (default: 1)",
    )
    group.add_argument(
        "--accumulate",
        type=positive,
        default=1,
        metavar="PARTS",
        help="compute a batch in so many parts, to save memory (default: 1)",
    )
    group.add_argument(
        "--deterministic", action="store_true", help="the same bits every time, at some cost"
    )


def evaluate(arguments: Sequence[str]) -> int:
    """refinenet evaluate: IoU per class."""
    parser = Parser(
        "evaluate",
        "How well weights (.safetensors, .pth), ONNX files and engines do on a labelled split, in\n"
        "percent: IoU, boundary IoU and accuracy per class, and their means.\n\n"
        "Boundary IoU counts the pixels along the inside of the classes' contours alone, 0.5 % of\n"
        "the image's diagonal deep (Cheng et al., CVPR 2021).",
        "refinenet evaluate lw-mobilenetv2-camvid --data camvid --split val\n"
        "  refinenet evaluate refinenet-101-voc.pth --data VOC2012 --dataset voc\n"
        "    --scales 0.4,0.6,0.8,1,1.2 --shorter-edge 450,800",
    )
    parser.add_argument("model", help="a file, or the name of shipped weights")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dataset", default="camvid", help=DATASET_HELP)
    parser.add_argument("--split", default="val", help="(default: %(default)s)")
    parser.add_argument("--limit", type=positive, help="at most so many images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and conditions")
    parser.add_argument(
        "--save-masks", type=Path, dest="masks", metavar="DIR", help="write every mask as PNG"
    )
    _add_passes(parser.add_argument_group("of weights"))
    exported = parser.add_argument_group("of ONNX files and engines")
    exported.add_argument("--provider", help="of ONNX Runtime: cpu (default), cuda, tensorrt")
    exported.add_argument("--card", type=Path, help="the card of a model that carries none")
    given = vars(parser.parse_args(arguments))
    return _evaluate(given.pop("json"), given)


def _add_passes(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", help="cpu (default), cuda, cuda:1, …")
    group.add_argument(
        "--scales",
        type=_scales,
        default=(1.0,),
        metavar="0.75,1,1.25",
        help="average the class probabilities over these scales",
    )
    group.add_argument("--flip", action="store_true", help="and over the mirror image")
    group.add_argument(
        "--shorter-edge",
        type=_bounds,
        metavar="450,800",
        help="bring the image's shorter edge within these, in pixels, before scaling",
    )
    group.add_argument(
        "--tile", type=size, metavar="512x512", help="compute larger images in tiles of this size"
    )
    group.add_argument(
        "--overlap", type=whole, metavar="PIXELS", help="of neighbouring tiles (default: 64)"
    )


def _evaluate(json_file: Path | None, given: dict[str, Any]) -> int:
    from refinenet.evaluate import EvaluateOptions, evaluate, save_json, table
    from refinenet.passes import Passes

    names = {field.name for field in fields(Passes)} & given.keys()
    tiles = _tiles(given.pop("tile"), given.pop("overlap"))
    passes = Passes(tiles=tiles, **{name: given.pop(name) for name in sorted(names)})
    options = EvaluateOptions(passes=passes, **given)
    evaluation = evaluate(options)
    print(table(evaluation))
    if json_file is not None:
        save_json(json_file, options, evaluation)
    return DONE


def _tiles(tile: tuple[int, int] | None, overlap: int | None) -> Any:
    """The tiles that --tile and --overlap ask for, or None."""
    from refinenet.passes import Tiles

    if tile is None and overlap is not None:
        raise InputError("--overlap is of tiles; give their size too: --tile 512x512")
    if tile is None:
        return None
    return Tiles(tile) if overlap is None else Tiles(tile, overlap)


def convert(arguments: Sequence[str]) -> int:
    """refinenet convert: any checkpoint to .safetensors with a card."""
    from refinenet.convert import ConvertOptions, convert

    parser = Parser(
        "convert",
        "Write a checkpoint as .safetensors with a card. Network, depth and number of classes are\n"
        "recognized from the keys; the names of the classes are not in a checkpoint.",
        "refinenet convert rf101_voc.pth.tar rf101-voc.safetensors --dataset voc --half",
    )
    parser.add_argument("weights", metavar="IN", help="a published checkpoint, or a state_dict")
    parser.add_argument("output", type=Path, metavar="OUT.safetensors")
    parser.add_argument("--half", action="store_true", help="store float16")
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--classes", type=Path, metavar="FILE", help="names by id, one per line")
    names.add_argument(
        "--dataset", metavar="NAME|FILE", help="a dataset whose classes and colours to take"
    )
    parser.add_argument(
        "--pooling",
        choices=("pool-conv", "conv-pool"),
        help="order in the chained residual pooling, which the keys do not tell (default: "
        "pool-conv; conv-pool for the authors' NYUDv2, Person-Part, Context, SUN and ADE20K)",
    )
    given = vars(parser.parse_args(arguments))
    del given["quiet"]  # nothing here takes long
    output = convert(given.pop("weights"), given.pop("output"), ConvertOptions(**given))
    print(f"{output}  {output.stat().st_size / 1e6:.1f} MB")
    return DONE


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or any(not 0.1 <= scale <= 4 for scale in scales):
        raise argparse.ArgumentTypeError(f"'{text}'; expected scales of 0.1 to 4, such as 0.75,1")
    return scales


def _bounds(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}'; expected two whole numbers, such as 450,800")
    least, most = map(int, parts)
    if not 0 < least <= most:
        raise argparse.ArgumentTypeError(f"'{text}'; expected the smaller one first, above zero")
    return least, most
