"""`refinenet data check`: faults and classes of labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from refinenet.data.dataset_option import add_dataset
from runtime.arguments import DONE, Parser
from runtime.errors import CheckFailed


def data(arguments: Sequence[str]) -> int:
    """refinenet data check: what is wrong with labelled images, and how often each class occurs."""
    parser = Parser(
        "data",
        "Read every image with its label. Missing and unreadable files, labels of another size,\n"
        "unknown ids, labels without an image and images in two splits are problems; exit code 1.\n"
        "Each class is shown with its share of the labelled pixels and the images that hold it.",
        "refinenet data check camvid --dataset camvid",
    )
    parser.add_argument("action", choices=("check",))
    parser.add_argument("data", type=Path, metavar="DIR", help="the dataset's folder")
    add_dataset(parser)
    parser.add_argument(
        "--split",
        dest="splits",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="train,val",
        help="(default: all that are there)",
    )
    given = vars(parser.parse_args(arguments))
    from refinenet.data.check import CheckOptions, check_dataset, problem_list, table

    del given["action"]
    findings = check_dataset(CheckOptions(**given))
    print(table(findings))
    if findings.problems:
        print(f"\n{problem_list(findings)}")
        raise CheckFailed(f"{len(findings.problems)} problems in {given['data']}")
    return DONE
