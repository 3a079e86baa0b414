"""--dataset, which several commands take; without torch."""

from __future__ import annotations

import argparse


def add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        default="camvid",
        metavar="NAME|FILE",
        help="a name of docs/datasets.md, or a .json or .yaml file (default: %(default)s)",
    )
