"""What can be asked of an export, and which of it makes no sense together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import InputError
from runtime.files import output_folder

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
USUAL_PRECISIONS = ("fp32", "fp16", "int8")
DATASET = "camvid"
SEARCH_IMAGES = 16


@dataclass(frozen=True)
class ExportOptions:
    weights: str | None
    variant: str | None
    factory: str | None
    card: Path | None
    weights_key: str | None
    output: Path
    name: str | None
    size: tuple[int, int]
    batch: int | None
    dynamic: bool
    precisions: tuple[str, ...]
    calibration: Path | None
    calibration_method: str | None
    percentile: float | None
    save_ranges: Path | None
    int8_for: str | None
    sensitivity: Path | None
    accuracy_loss: float | None
    data: Path | None
    dataset: str | None
    search_images: int | None
    output_kind: str
    resize: str | None
    quiet: bool


def measured(precisions: Sequence[str]) -> bool:
    """Whether one of these precisions has a range that images are measured for."""
    return "fp16" in precisions or "int8" in precisions


def check_options(options: ExportOptions) -> None:
    """InputError for options that nothing would use, that lack what they need, or that name data
    and places which the end of the work would stumble over."""
    _check_graph(options)
    _check_measurement(options)
    _check_search(options)
    _check_paths(options)


def _check_graph(options: ExportOptions) -> None:
    if options.card is not None and options.factory is None:
        raise InputError("--card is for --factory; weights of ours carry their own")
    if options.variant is not None and options.factory is not None:
        raise InputError("--variant names a network of ours; --factory makes one of yours")
    if options.weights_key is not None and options.weights is None:
        raise InputError("--weights-key is of a weights file; give that too")
    if options.name == "" or (options.name and Path(options.name).name != options.name):
        raise InputError(f"--name '{options.name}'; expected a name alone, the folder is --output")
    of_static = _given({"--batch": options.batch, "--resize": options.resize})
    if of_static and options.dynamic:
        raise InputError(f"{of_static} not with --dynamic, which takes any batch and size")


def _check_measurement(options: ExportOptions) -> None:
    of_int8 = _given(
        {
            "--save-ranges": options.save_ranges,
            "--calibration-method": options.calibration_method,
            "--percentile": options.percentile,
            "--int8-for": options.int8_for,
            "--accuracy-loss": options.accuracy_loss,
            "--sensitivity": options.sensitivity,
        }
    )
    if of_int8 and "int8" not in options.precisions:
        raise InputError(f"{of_int8} only for int8; add it to --precision")
    if options.calibration is not None and not measured(options.precisions):
        raise InputError("--calibration only for fp16 and int8; add one of them to --precision")


def _check_search(options: ExportOptions) -> None:
    searching = options.accuracy_loss is not None or options.sensitivity is not None
    of_search = _given(
        {
            "--data": options.data,
            "--dataset": options.dataset,
            "--search-images": options.search_images,
        }
    )
    if of_search and not searching:
        raise InputError(
            f"{of_search} only for --accuracy-loss and --sensitivity; give one of them"
        )
    if options.accuracy_loss is not None:
        if not 0 <= options.accuracy_loss < 100:
            raise InputError(f"--accuracy-loss {options.accuracy_loss:g}; expected 0 to 100 points")
        if options.data is None:
            raise InputError("--accuracy-loss needs labelled images: --data DIR")
    if searching and options.output_kind != "mask":
        raise InputError("--accuracy-loss and --sensitivity need --output-kind mask")
    if options.dataset is not None and options.data is None:
        raise InputError("--dataset says what --data DIR holds; give that too")
    images = options.calibration is not None and options.calibration.suffix != ".json"
    if options.sensitivity is not None and options.data is None and not images:
        raise InputError("--sensitivity needs images: --data DIR, or --calibration IMAGES")


def _given(options: Mapping[str, object]) -> str:
    """The names of those that were given."""
    return ", ".join(name for name, value in options.items() if value is not None)


def _check_paths(options: ExportOptions) -> None:
    if options.data is not None:
        from export.int8.layer_search import REPORTED, SEARCHED
        from refinenet.data.datasets import open_dataset

        for split in (SEARCHED,) if options.accuracy_loss is None else (SEARCHED, REPORTED):
            open_dataset(options.dataset or DATASET, options.data, split)
    for path in (options.save_ranges, options.sensitivity):
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{path} is a folder; expected a file to write")
        output_folder(path.parent)
