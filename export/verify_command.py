"""`refinenet verify`: every stage against the one before it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.arguments import DONE, Parser, positive
from runtime.errors import CheckFailed


def verify(arguments: Sequence[str]) -> int:
    """refinenet verify: exit code 1 if a gate fails."""
    parser = Parser(
        "verify",
        "Compare every stage in a folder with the one before it, on real images: PyTorch, FP32,\n"
        "FP16, INT8, engines. Exit code 1 if a gate fails; NOT RUN for what cannot run here.",
        "refinenet verify build --weights lw-mobilenetv2-camvid --images photos",
    )
    parser.add_argument("folder", type=Path, help="what refinenet export and build wrote")
    parser.add_argument("--weights", required=True, help="what the exports were made from")
    parser.add_argument("--images", type=Path, help="a folder of images, or one image")
    parser.add_argument("--data", type=Path, help="a dataset with labels instead, for mIoU")
    parser.add_argument("--dataset", default="camvid", help="(default: %(default)s)")
    parser.add_argument("--split", default="val", help="(default: %(default)s)")
    parser.add_argument("--limit", type=positive, help="at most so many images")
    parser.add_argument(
        "--untrained", action="store_true", help="judge scores, not pixels: classes lie close"
    )
    parser.add_argument(
        "--require-engine", action="store_true", help="fail if an engine cannot run here"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    given = vars(parser.parse_args(arguments))
    return _verify(given.pop("json"), shlex.join(("refinenet", "verify", *arguments)), given)


def _verify(json_file: Path | None, command: str, given: dict[str, Any]) -> int:
    from export.verify import FAILED, NOT_RUN, StageResult, VerifyOptions, save_results, verify

    def line(row: StageResult) -> str:
        measures = row.measures
        return (
            f"{row.name:<10} {row.against:<8} {_share(measures.get('pixel_agreement')):>9} "
            f"{_share(measures.get('boundary_agreement')):>8} "
            f"{_exponent(measures.get('scores_rms_error')):>8} "
            f"{_share(measures.get('miou')):>7}  {row.status}"
        )

    results = verify(VerifyOptions(**given))
    if json_file is not None:
        save_results(results, json_file, command)
    print("stage      against     pixels   border   scores    mIoU  result")
    for row in results:
        print(line(row) + (f": {row.reason}" if row.status == FAILED else ""))
    for reason in dict.fromkeys(row.reason for row in results if row.status == NOT_RUN):
        print(f"{NOT_RUN}: {reason}")
    print(
        "pixels: share equal to the stage before; border: within 3 pixels of a class border;\n"
        "scores: RMS difference in standard deviations; mIoU: with --data"
    )
    failed = [row.name for row in results if row.status == FAILED]
    if failed:
        raise CheckFailed(f"the first stage that fails is {failed[0]}")
    return DONE


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2%}"


def _exponent(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
