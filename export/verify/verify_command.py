"""`refinenet verify`: every stage against the one before it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.arguments import DONE, Parser, positive
from runtime.errors import CheckFailed, InputError
from runtime.files import output_folder
from runtime.remote.address import parse_address

if TYPE_CHECKING:
    from export.verify.layer_drift import LayerReport
    from export.verify.verdict import StageResult
    from export.verify.verify import VerifyOptions

LISTED_LAYERS, LISTED_SIZES = 5, 6
DATASET, SPLIT = "camvid", "val"


def verify(arguments: Sequence[str]) -> int:
    """refinenet verify: exit code 1 if a gate fails."""
    parser = Parser(
        "verify",
        "Compare every stage in a folder with the one before it, on real images: PyTorch, FP32,\n"
        "FP16, INT8, engines. Exit code 1 if a gate fails; NOT RUN for what cannot run here.",
        "refinenet verify build --weights lw-mobilenetv2-camvid --images photos",
    )
    parser.add_argument("folder", type=Path, help="what refinenet export and build wrote")
    parser.add_argument("--weights", help="what the exports were made from")
    parser.add_argument(
        "--factory", metavar="MODULE:FUNCTION", help="what makes the network, as given to export"
    )
    parser.add_argument(
        "--card",
        type=Path,
        metavar="FILE",
        help="with --factory: mean, std and channel order that the network was trained with "
        "(default: those that it was exported with)",
    )
    parser.add_argument("--images", type=Path, help="a folder of images, or one image")
    parser.add_argument("--data", type=Path, help="a dataset with labels instead, for mIoU")
    parser.add_argument("--dataset", help=f"its kind (default: {DATASET})")
    parser.add_argument("--split", help=f"of it (default: {SPLIT})")
    parser.add_argument("--limit", type=positive, help="at most so many images")
    parser.add_argument(
        "--untrained", action="store_true", help="judge scores, not pixels: classes lie close"
    )
    parser.add_argument(
        "--require-engine", action="store_true", help="fail if an engine cannot run here"
    )
    parser.add_argument(
        "--model",
        metavar="triton://HOST:PORT/NAME",
        help="a server that serves one of the files; its masks are compared too",
    )
    parser.add_argument(
        "--layers",
        action="store_true",
        help="go inside the first stage that fails, or else the one that loses most, and name the "
        "first layer that drifts",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    given = vars(parser.parse_args(arguments))
    _check_images(given)
    given["dataset"] = given["dataset"] or DATASET
    given["split"] = given["split"] or SPLIT
    if (json_file := given.pop("json")) is not None:  # better now than after minutes of comparing
        _check_output(json_file)
    output = _Output(
        given.pop("layers"), json_file, shlex.join(("refinenet", "verify", *arguments))
    )
    return _verify(output, given)


def _check_images(given: Mapping[str, Any]) -> None:
    """InputError for options that nothing would use."""
    if given["card"] is not None and given["factory"] is None:
        raise InputError("--card is for --factory; weights of ours carry their own")
    if given["model"] is not None:
        parse_address(given["model"])
    if given["data"] is None:
        for name in ("dataset", "split"):
            if given[name] is not None:
                raise InputError(f"--{name} is of --data DIR; give that too")
    elif given["images"] is not None:
        raise InputError("--images and --data are two sets of images; give one of them")


@dataclass(frozen=True)
class _Output:
    layers: bool
    json_file: Path | None
    command: str


def _check_output(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected the name of a file to write")
    output_folder(path.parent)


def _verify(output: _Output, given: dict[str, Any]) -> int:
    from export.verify.verdict import FAILED, first_that_loses
    from export.verify.verify import VerifyOptions, save_results, verify

    options = VerifyOptions(**given)
    results = verify(options)
    _print_stages(results)
    _print_classes(results)
    lossy = first_that_loses(results)
    layers = _layers(options, lossy) if output.layers and lossy is not None else None
    if output.json_file is not None:
        save_results(results, output.json_file, output.command, layers)
    if lossy is None or lossy.status != FAILED:
        return DONE
    where = f", from {layers.first.name} on" if layers is not None and layers.first else ""
    raise CheckFailed(f"the first stage that fails is {lossy.name}{where}")


def _print_stages(results: Sequence[StageResult]) -> None:
    from export.verify.verdict import FAILED, NOT_RUN, PASSED, first_that_loses

    print(
        "stage      against    pixels interior   border        ties    input   scores  largest"
        "    mIoU  result"
    )
    for row in results:
        measures = row.measures
        ties = "{of_these_ties}/{tied_pixels}".format(**measures) if measures else ""
        print(
            f"{row.name:<10} {row.against:<8} {_share(measures.get('pixel_agreement')):>8} "
            f"{_share(measures.get('interior_agreement')):>8} "
            f"{_share(measures.get('boundary_agreement')):>8} {ties:>11} "
            f"{_exponent(measures.get('network_input_error')):>8} "
            f"{_exponent(measures.get('scores_rms_error')):>8} "
            f"{_exponent(measures.get('scores_largest_error')):>8} "
            f"{_share(measures.get('miou')):>7}  {row.status}"
            + (f": {row.reason}" if row.status == FAILED else "")
        )
    for reason in dict.fromkeys(row.reason for row in results if row.status == NOT_RUN):
        print(f"{NOT_RUN}: {reason}")
    print(
        "pixels: share equal to the stage before; border: within 3 pixels of a class border;\n"
        "ties: differing of all pixels whose two best classes lie within rounding, which interior\n"
        "and border leave out; input: largest difference of what the network is fed; scores,\n"
        "largest: RMS and largest difference, in standard deviations; mIoU: with --data"
    )
    sizes = sorted({size for row in results for size in row.measures.get("sizes", ())})
    if len(sizes) > 1:
        more = ", …" if len(sizes) > LISTED_SIZES else ""
        print(f"compared at {len(sizes)} sizes: {', '.join(sizes[:LISTED_SIZES])}{more}")
    for row in results:
        if "second_size" in row.measures:
            print(f"{row.name}: not compared at the second size: {row.measures['second_size']}")
    lossy = first_that_loses(results)
    if lossy is not None and lossy.status == PASSED:
        print(
            f"every gate holds; {lossy.name} loses the most, "
            f"{_exponent(lossy.measures['scores_rms_error'])} deviations RMS"
        )


def _print_classes(results: Sequence[StageResult]) -> None:
    """The change of every class's IoU, in points, where there were labels."""
    changes = {
        row.name: row.measures["class_iou_change_points"]
        for row in results
        if "class_iou_change_points" in row.measures
    }
    if not changes:
        return
    print("\nIoU, change in points".ljust(24) + "".join(f"{name:>10}" for name in changes))
    for name in dict.fromkeys(name for by_class in changes.values() for name in by_class):
        figures = (by_class.get(name) for by_class in changes.values())
        row = ("" if figure is None else f"{figure:+.2f}" for figure in figures)
        print(f"{name:<23}" + "".join(f"{figure:>10}" for figure in row))


def _layers(options: VerifyOptions, lossy: StageResult) -> LayerReport | None:
    from export.verify.verify import inside

    if "." in lossy.name:
        print(f"\nneither an engine nor a server shows its layers: none of {lossy.name} to compare")
        return None
    report = inside(options, lossy.name)
    print(f"\nlayers of {report.stage} against {report.against}, those that differ most:")
    print("own error    drift  layer")
    for layer in report.largest(LISTED_LAYERS):
        print(f"{layer.own_error:>9.1e} {layer.drift:>8.1e}  {layer.name}")
    print(
        "own error: on the inputs of the stage before; drift: on its own; RMS over the RMS of the\n"
        "stage before"
    )
    if report.first is None:
        print(f"no layer adds more than rounding ({report.limit:g}): the loss is spread over many")
    else:
        print(f"the first layer that drifts is {report.first.name}")
    return report


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3%}"


def _exponent(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"
