"""--dataset, which several commands take; without torch."""

from __future__ import annotations

import argparse

ASSUMED = "camvid"


def add_dataset(parser: argparse.ArgumentParser, default: str | None = ASSUMED) -> None:
    parser.add_argument(
        "--dataset",
        default=default,
        metavar="NAME|FILE",
        help=f"a name of docs/datasets.md, or a .json or .yaml file (default: {ASSUMED})",
    )
