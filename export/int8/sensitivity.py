"""What each layer alone costs in INT8, on real images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from tqdm import tqdm

from export.int8.calibration import batch_of
from export.int8.placement import reasons_for_fp16
from export.int8.runtimes import DEFAULT_RUNTIME
from export.int8.switchable_int8 import SwitchableInt8, switchable_layers
from export.verify.agreement import Agreement, Output
from refinenet.activation_ranges import Ranges
from refinenet.data.datasets import LabelledImages
from refinenet.evaluation.metrics import ConfusionMatrix
from runtime.card import Card, read_card
from runtime.files import sha256_of, written_whole
from runtime.frames import Frame, Mask, read_frame
from runtime.resize import restore

# Reads an image and, where there is one, its label.
Sample = Callable[[], tuple[Frame, Mask | None]]


@dataclass(frozen=True)
class LayerLoss:
    """What changes when this layer alone is INT8.

    layer: the name of its weight. scores_error: the root-mean-square change of the class scores, in
    their standard deviations. pixels_changed: the share of pixels whose class changes.
    miou_loss_points: with labels; on few images it is noise for all but the worst layers.
    by_rule: why the rule leaves the layer in FP16; None for those that it makes INT8.
    """

    layer: str
    scores_error: float
    pixels_changed: float
    miou_loss_points: float | None
    by_rule: str | None


@dataclass(frozen=True)
class Trial:
    """An FP32 graph with switches, and the images to try it on."""

    fp32_path: Path
    card: Card
    network: SwitchableInt8
    by_rule: Mapping[str, str]
    samples: Sequence[Sample]
    quiet: bool = False


def open_trial(
    fp32_path: Path,
    ranges: Ranges,
    samples: Sequence[Sample],
    quiet: bool = False,
    int8_for: str = DEFAULT_RUNTIME,
) -> Trial:
    """Raises InputError unless every switchable layer has a range."""
    model = onnx.load(fp32_path)
    by_rule = reasons_for_fp16(model)
    network = SwitchableInt8(model, switchable_layers(by_rule, model), ranges, int8_for)
    return Trial(fp32_path, read_card(fp32_path), network, by_rule, samples, quiet)


def layer_losses(trial: Trial) -> list[LayerLoss]:
    """Each switchable layer alone in INT8, in the graph's order: a run per layer and image."""
    classes, layers = len(trial.card.classes), trial.network.layers
    agreements = {layer: Agreement(classes) for layer in layers}
    matrices = {layer: ConfusionMatrix(classes) for layer in layers}
    reference = ConfusionMatrix(classes)
    labelled = False
    total = len(trial.samples) * len(layers)
    with tqdm(total=total, desc="sensitivity", unit="run", disable=trial.quiet or None) as bar:
        for read in trial.samples:
            frame, label = read()
            frames = batch_of(frame, trial.card)
            before = trial.network(frames, ())
            labelled |= label is not None
            _count(reference, label, before, frame, trial.card)
            for layer in layers:
                after = trial.network(frames, (layer,))
                agreements[layer].add(before, after)
                _count(matrices[layer], label, after, frame, trial.card)
                bar.update()
    return [
        LayerLoss(
            layer=layer,
            scores_error=float(agreements[layer].rms_error or 0),
            pixels_changed=1 - agreements[layer].pixels,
            miou_loss_points=(
                100 * (reference.mean_iou - matrices[layer].mean_iou) if labelled else None
            ),
            by_rule=trial.by_rule.get(layer),
        )
        for layer in layers
    ]


def save_losses(losses: Sequence[LayerLoss], trial: Trial, ranges: Ranges, path: Path) -> None:
    """Write the layers, most sensitive first, with what they were measured on."""
    record: dict[str, Any] = {
        "fp32_sha256": sha256_of(trial.fp32_path),
        "input_shape": trial.card.input_shape,
        "images": len(trial.samples),
        "calibration": {"method": ranges.method, "images_sha256": ranges.images_sha256},
        "layers": [
            asdict(loss) for loss in sorted(losses, key=lambda x: x.scores_error, reverse=True)
        ],
    }
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def labelled_samples(images: LabelledImages, limit: int | None = None) -> list[Sample]:
    """Images with their labels, evenly spread over the split if there is a limit."""
    return [partial(images.read, index) for index in _spread(len(images), limit)]


def plain_samples(images: Sequence[Path], limit: int | None = None) -> list[Sample]:
    """Images without labels, evenly spread if there is a limit."""
    return [partial(_without_label, images[index]) for index in _spread(len(images), limit)]


def _spread(count: int, limit: int | None) -> range:
    return range(0, count, -(-count // limit) if limit else 1)


def _without_label(path: Path) -> tuple[Frame, Mask | None]:
    return read_frame(path), None


def _count(
    matrix: ConfusionMatrix, label: Mask | None, output: Output, frame: Frame, card: Card
) -> None:
    if label is not None:
        matrix.add(label, restore(output.mask, frame.shape[:2], card))
