"""What `refinenet export` can be asked, in words."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.export_options import DATASET, PRECISIONS, SEARCH_IMAGES, USUAL_PRECISIONS
from export.int8.runtimes import DEFAULT_RUNTIME, RUNTIMES
from runtime.arguments import Parser, choices, positive, size


def export_parser() -> Parser:
    """The parser; its names are those of ExportOptions."""
    parser = Parser(
        "export",
        "Write the frame-to-mask graph of trained weights as ONNX files, each with its card.\n"
        "FP32 is always written: the other precisions are made from it.",
        "refinenet export lw-mobilenetv2-camvid --output build --size 360x480",
    )
    parser.add_argument(
        "weights",
        nargs="?",
        help="a .safetensors or published .pth file, or shipped weights; with --factory, the "
        "state_dict of its network, if the function does not load it",
    )
    parser.add_argument(
        "--variant", metavar="NAME", help="of a checkpoint whose keys are those of several networks"
    )
    parser.add_argument(
        "--factory",
        metavar="package.module:function",
        help="export a network of your own: the function's code runs, and returns it, for scores "
        "(N, C, h, w), one channel of foreground, or class ids",
    )
    parser.add_argument(
        "--card",
        type=Path,
        metavar="FILE",
        help="class names, colours, mean, std and channel order of that network, as JSON; see "
        "docs/own-networks.md",
    )
    parser.add_argument(
        "--weights-key",
        metavar="KEY",
        help="which of several sets of weights in the file, such as ema",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--name", help="of the files; the name of the weights by default")
    parser.add_argument(
        "--size",
        type=size,
        default=(360, 480),
        metavar="HEIGHTxWIDTH",
        help="of the frames; the network runs once at it. With --dynamic an example alone "
        "(default: 360x480)",
    )
    parser.add_argument("--batch", type=positive, help="frames in a call (default: 1)")
    parser.add_argument(
        "--dynamic",
        action="store_true",
        help="leave batch and size free, as a profile; compared with PyTorch at further sizes",
    )
    parser.add_argument(
        "--precision",
        dest="precisions",
        type=choices(*PRECISIONS),
        default=USUAL_PRECISIONS,
        metavar="fp32,fp16,bf16,int8",
        help=f"(default: {','.join(USUAL_PRECISIONS)})",
    )
    parser.add_argument("--output-kind", choices=("mask", "logits"), default="mask")
    parser.add_argument(
        "--resize",
        choices=("stretch", "letterbox"),
        help="what becomes of a frame of another size (default: stretch)",
    )
    _add_measurement(parser.add_argument_group("measured on images, for FP16 and INT8"))
    _add_search(parser.add_argument_group("INT8 layer by layer"))
    return parser


def _add_measurement(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--calibration",
        type=Path,
        metavar="IMAGES",
        help="images to measure on, or a .json of --save-ranges; the ranges that ship with the "
        "weights by default",
    )
    group.add_argument(
        "--calibration-method",
        choices=("max", "percentile", "entropy", "mse"),
        help="how a range is chosen; docs/quantization.md tells them apart (default: percentile)",
    )
    group.add_argument(
        "--percentile",
        type=float,
        help="of the activations that INT8 must cover (default: 99.99)",
    )
    group.add_argument(
        "--int8-for",
        choices=RUNTIMES,
        help="the runtime that the scales of INT8 weights suit: one for each layer (rtx), or one "
        f"for each output channel (tensorrt) (default: {DEFAULT_RUNTIME})",
    )
    group.add_argument(
        "--save-ranges", type=Path, metavar="FILE", help="keep the measured ranges as JSON"
    )


def _add_search(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--accuracy-loss",
        type=float,
        metavar="POINTS",
        help="make as many layers INT8 as lose at most so much mIoU; needs --data. Searched on "
        "training images, reported on all of val; exit code 1 if the report is beyond",
    )
    group.add_argument(
        "--sensitivity",
        type=Path,
        metavar="FILE",
        help="write as JSON what each layer alone costs in INT8, on the training images of --data, "
        "or on those of --calibration",
    )
    group.add_argument("--data", type=Path, metavar="DIR", help="a dataset with labels")
    group.add_argument("--dataset", help=f"its kind (default: {DATASET})")
    group.add_argument(
        "--search-images",
        type=positive,
        help=f"images for these two, evenly spread (default: {SEARCH_IMAGES})",
    )
