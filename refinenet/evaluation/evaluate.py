"""How good weights, ONNX files and engines are on labelled images.

It imports no torch: engines are evaluated on machines that have none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from refinenet import __version__
from refinenet.data.datasets import LabelledImages, check_classes, open_dataset
from refinenet.evaluation.metrics import BoundaryIoU, ConfusionMatrix
from refinenet.evaluation.passes import ONE_PASS, Passes
from runtime.app.overlay import write_mask
from runtime.card import Card
from runtime.errors import InputError
from runtime.files import existing_file, output_folder, sha256_of, written_whole
from runtime.frames import Frame, Mask
from runtime.remote.address import is_served
from runtime.segmenter import Segmenter

DEPLOYED = (".onnx", ".engine")


@dataclass(frozen=True)
class EvaluateOptions:
    """model: a file, the name of shipped weights, or an address of a served model.
    limit: at most so many images.
    passes, device: of weights alone. provider, card: of exported files alone; see Segmenter.open.
    masks: a folder to write every mask into, as PNG under its image's name.
    """

    model: str
    data: Path
    dataset: str = "camvid"
    split: str = "val"
    limit: int | None = None
    passes: Passes = ONE_PASS
    device: str | None = None
    provider: str | None = None
    card: Path | None = None
    masks: Path | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What was found. images: how many. sha256, card: of the model's file; no hash where a server
    does not say it. description: of what ran it."""

    confusion: ConfusionMatrix
    boundary: BoundaryIoU
    images: int
    sha256: str | None
    card: Card
    description: str

    @property
    def summary(self) -> dict[str, float]:
        """The figures over all classes, 0 to 1, by name; NaN where nothing was counted."""
        return {
            "mIoU": self.confusion.mean_iou,
            "boundary mIoU": self.boundary.mean_iou,
            "frequency-weighted IoU": self.confusion.frequency_weighted_iou,
            "mean class accuracy": self.confusion.mean_class_accuracy,
            "pixel accuracy": self.confusion.pixel_accuracy,
        }


class Model(Protocol):
    """What a Segmenter and a TorchSegmenter have in common."""

    card: Card
    description: str

    def __call__(self, frame: Frame) -> Mask: ...


def evaluate(options: EvaluateOptions) -> Evaluation:
    """Segment a split and compare with its labels at their own size.

    Raises InputError if the model or the data cannot be read, if their classes differ, or if an
    option has no meaning for this kind of model; DeviceError if the device or provider cannot be
    had.
    """
    _check_options(options)
    images = open_dataset(options.dataset, options.data, options.split)
    targets = _mask_files(options.masks, images, options.limit) if options.masks else None
    file, sha256 = _model_file(options.model)
    counts = ConfusionMatrix(len(images.dataset.classes))
    edges = BoundaryIoU(len(images.dataset.classes))
    seen = 0
    with _opened(file, options) as model:
        check_classes(images, options.dataset, model.card, options.model)
        for label, mask in _masks(model, images, options.limit, options.quiet):
            counts.add(label, mask)
            edges.add(label, mask)
            if targets is not None:
                write_mask(targets[seen], mask, model.card.palette)
            seen += 1
        return Evaluation(counts, edges, seen, sha256, model.card, model.description)


def confusion(
    segment: Callable[[Frame], Mask],
    images: LabelledImages,
    limit: int | None = None,
    quiet: bool = True,
) -> ConfusionMatrix:
    """Count labels against masks over a split, or over its first `limit` images."""
    matrix = ConfusionMatrix(len(images.dataset.classes))
    for label, mask in _masks(segment, images, limit, quiet):
        matrix.add(label, mask)
    return matrix


def table(evaluation: Evaluation) -> str:
    """Every class's IoU, boundary IoU and accuracy, and the figures over all, in percent."""
    counts = evaluation.confusion
    columns = (counts.iou, evaluation.boundary.iou, counts.class_accuracy)
    width = max(map(len, (*evaluation.card.classes, *evaluation.summary)))
    rows = [
        f"{name:<{width}} {_percent(iou):>6} {_percent(edge):>9} {_percent(right):>9}"
        for name, iou, edge, right in zip(evaluation.card.classes, *columns, strict=True)
    ]
    return "\n".join(
        [
            f"{'':<{width}} {'IoU':>6} {'boundary':>9} {'accuracy':>9}",
            *rows,
            *(f"{name:<{width}} {_percent(v):>6}" for name, v in evaluation.summary.items()),
        ]
    )


def save_json(path: Path, options: EvaluateOptions, evaluation: Evaluation) -> None:
    """Write the figures, 0 to 1, with what they were measured on and how, to be repeated.

    Raises InputError if the file cannot be written.
    """
    counts, card = evaluation.confusion, evaluation.card
    by_class = {
        "iou": counts.iou,
        "boundary_iou": evaluation.boundary.iou,
        "class_accuracy": counts.class_accuracy,
    }
    record = {
        "options": asdict(options),
        "sha256": evaluation.sha256,
        "variant": card.variant,
        "precision": card.precision,
        "runs_on": evaluation.description,
        "refinenet_deploy": __version__,
        "images": evaluation.images,
        "boundary_share_of_diagonal": evaluation.boundary.share,
        **{_key(name): _known(value) for name, value in evaluation.summary.items()},
        **{
            name: dict(zip(card.classes, map(_known, values), strict=True))
            for name, values in by_class.items()
        },
    }
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")


def _check_options(options: EvaluateOptions) -> None:
    """InputError for an option that this kind of model knows nothing of."""
    of_weights = {
        "--scales": options.passes.scales != ONE_PASS.scales,
        "--flip": options.passes.flip,
        "--shorter-edge": options.passes.shorter_edge is not None,
        "--tile": options.passes.tiles is not None,
        "--device": options.device is not None,
    }
    of_exported = {"--provider": options.provider is not None, "--card": options.card is not None}
    if _is_exported(options.model):
        refused, meant = of_weights, "weights; exported files are run as they are"
    else:
        refused, meant = of_exported, "exported files (.onnx, .engine) and served ones"
    if given := [name for name, is_given in refused.items() if is_given]:
        raise InputError(f"{options.model}: {', '.join(given)} only for {meant}")


def _is_exported(model: str) -> bool:
    """Whether a Segmenter runs it, rather than PyTorch."""
    return is_served(model) or model.endswith(DEPLOYED)


def _model_file(model: str) -> tuple[Path | str, str | None]:
    """The file or the address, and the file's hash."""
    if is_served(model):
        from runtime.remote.served_model import served_model

        return model, served_model(model).sha256
    if _is_exported(model):
        file = existing_file(model)
    else:
        from refinenet.checkpoints.load import weights_path

        file = weights_path(model)
    return file, sha256_of(file)


@contextmanager
def _opened(model: Path | str, options: EvaluateOptions) -> Iterator[Model]:
    """The model, ready for frames, closed at the end."""
    if _is_exported(options.model):
        with Segmenter.open(model, provider=options.provider, card=options.card) as segmenter:
            yield segmenter
    else:
        from refinenet.evaluation.predict import TorchSegmenter

        yield TorchSegmenter(model, options.passes, options.device or "cpu")


def _masks(
    segment: Callable[[Frame], Mask], images: LabelledImages, limit: int | None, quiet: bool
) -> Iterator[tuple[Mask, Mask]]:
    """Label and mask, both (H, W) uint8, of each image."""
    chosen = range(len(images))[:limit]
    for index in tqdm(chosen, desc="evaluate", unit="image", disable=quiet or None):
        frame, label = images.read(index)
        yield label, segment(frame)


def _mask_files(folder: Path, images: LabelledImages, limit: int | None) -> list[Path]:
    """Where each image's mask goes; InputError if two share a file, or one is the dataset's own."""
    targets = [output_folder(folder) / f"{image.stem}.png" for image, _ in images.pairs[:limit]]
    taken = {os.path.realpath(path) for pair in images.pairs for path in pair}
    for target in targets:
        if os.path.realpath(target) in taken:
            raise InputError(
                f"{target} is taken by an image, a label or another mask; choose another folder"
            )
        taken.add(os.path.realpath(target))
    return targets


def _percent(share: float) -> str:
    return "-" if share != share else f"{100 * share:.2f}"  # NaN alone differs from itself


def _known(share: float) -> float | None:
    """JSON has no NaN."""
    return None if share != share else float(share)


def _key(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")
