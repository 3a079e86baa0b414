"""`refinenet data check`: faults and classes of labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refinenet.data.dataset_option import ASSUMED, add_dataset
from runtime.arguments import DONE, Parser
from runtime.errors import CheckFailed, InputError


def data(arguments: Sequence[str]) -> int:
    """refinenet data check: what is wrong with labelled images, and how often each class occurs."""
    parser = Parser(
        "data",
        "Read every image with its label. Missing and unreadable files, labels of another size,\n"
        "unknown ids, labels without an image and images in two splits are problems; exit code 1.\n"
        "Each class is shown with its share of the labelled pixels and the images that hold it.\n"
        "Notes, which change no exit code: classes without a pixel, images that EXIF turns.",
        "refinenet data check camvid --dataset camvid",
    )
    parser.add_argument("action", choices=("check",))
    parser.add_argument("data", type=Path, metavar="DIR", help="the dataset's folder")
    add_dataset(parser, default=None)
    parser.add_argument(
        "--split",
        dest="splits",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="train,val",
        help="(default: all that are there)",
    )
    given = vars(parser.parse_args(arguments))
    from refinenet.data.check import CheckOptions, check_dataset, note_list, problem_list, table

    del given["action"]
    assumed = given["dataset"] is None
    if assumed:
        given["dataset"] = ASSUMED
    try:
        findings = check_dataset(CheckOptions(**given))
    except InputError as error:
        if not assumed:
            raise
        raise InputError(f"{error}. {_assumption()}") from error
    if assumed:
        print(f"{_assumption()}\n")
    print(table(findings))
    if findings.notes:
        print(f"\n{note_list(findings)}")
    if findings.problems:
        print(f"\n{problem_list(findings)}")
        raise CheckFailed(f"{len(findings.problems)} problems in {given['data']}")
    return DONE


def _assumption() -> str:
    return (
        f"The data set {ASSUMED} was assumed; say otherwise with --dataset NAME, or with "
        "--dataset FILE.json for your own (docs/datasets.md)"
    )
