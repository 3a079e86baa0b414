"""`refinenet evaluate`: IoU per class."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from refinenet.data.dataset_option import add_dataset
from runtime.arguments import DONE, Parser, positive, size, whole
from runtime.errors import InputError


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
    parser.add_argument(
        "model", help="a file, the name of shipped weights, or triton://HOST:PORT/NAME"
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    add_dataset(parser)
    parser.add_argument("--split", default="val", help="(default: %(default)s)")
    parser.add_argument("--limit", type=positive, help="at most so many images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and conditions")
    parser.add_argument(
        "--save-masks", type=Path, dest="masks", metavar="DIR", help="write every mask as PNG"
    )
    _add_passes(parser.add_argument_group("of weights"))
    exported = parser.add_argument_group("of ONNX files, engines and served models")
    exported.add_argument("--provider", help="of ONNX Runtime: cpu (default), cuda, tensorrt, rtx")
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
    from refinenet.evaluation.evaluate import EvaluateOptions, evaluate, save_json, table
    from refinenet.evaluation.passes import Passes

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
    from refinenet.evaluation.passes import Tiles

    if tile is None and overlap is not None:
        raise InputError("--overlap is of tiles; give their size too: --tile 512x512")
    if tile is None:
        return None
    return Tiles(tile) if overlap is None else Tiles(tile, overlap)


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
