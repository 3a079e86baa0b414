"""How good weights, ONNX files and engines are on labelled images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from refinenet.augmentation import to_input
from refinenet.checkpoints import load_checkpoint, weights_path
from refinenet.datasets import LabelledImages, open_dataset
from refinenet.metrics import ConfusionMatrix
from runtime.card import Card, read_card
from runtime.errors import InputError
from runtime.files import existing_file, written_whole
from runtime.frames import Frame, Mask
from runtime.segmenter import Segmenter

DEPLOYED = (".onnx", ".engine")


@dataclass(frozen=True)
class EvaluateOptions:
    """scales, flip: the class scores of the frame at several scales and of its mirror image are
    averaged (weights only)."""

    model: str
    data: Path
    dataset: str = "camvid"
    split: str = "val"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    device: str = "cpu"
    limit: int | None = None
    quiet: bool = False


def evaluate(options: EvaluateOptions) -> tuple[ConfusionMatrix, Card]:
    """Segment a split and compare with its labels at their own size.

    Raises InputError if the model or the data cannot be read, or their classes differ.
    """
    images = open_dataset(options.dataset, options.data, options.split)
    if options.model.endswith(DEPLOYED):
        if options.scales != (1.0,) or options.flip:
            raise InputError(
                "--scales and --flip are for weights; exported files are run as they are"
            )
        path = existing_file(options.model)
        card = read_card(path)
        _check_classes(card, images, options)
        with Segmenter.open(path) as segmenter:
            return confusion(segmenter, images, options.limit, options.quiet), card
    network, card = load_checkpoint(weights_path(options.model))
    _check_classes(card, images, options)
    network.to(options.device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stubs

    def segment(frame: Frame) -> Mask:
        return predict(network, frame, options.scales, options.flip, options.device)

    return confusion(segment, images, options.limit, options.quiet), card


def predict(
    network: nn.Module,
    frame: Frame,
    scales: tuple[float, ...] = (1.0,),
    flip: bool = False,
    device: str = "cpu",
) -> Mask:
    """The mask of a frame, (H, W) uint8, from scores averaged over scales and mirror images."""
    with torch.inference_mode():
        image = to_input(frame)[None].to(device)
        total: Tensor = sum(  # type: ignore[assignment]  # sum starts from the integer 0
            _scores(network, image, scale, mirrored)
            for scale in scales
            for mirrored in ((False, True) if flip else (False,))
        )
        mask: Mask = total.argmax(1)[0].to(torch.uint8).cpu().numpy()
    return mask


def _scores(network: nn.Module, image: Tensor, scale: float, mirrored: bool) -> Tensor:
    """Class scores at the image's own size, (1, C, H, W)."""
    resized = image if scale == 1 else F.interpolate(image, scale_factor=scale, mode="bilinear")
    scores: Tensor = network(resized.flip(3) if mirrored else resized)
    scores = scores.flip(3) if mirrored else scores
    return F.interpolate(scores, image.shape[-2:], mode="bilinear")


def confusion(
    segment: Callable[[Frame], Mask],
    images: LabelledImages,
    limit: int | None = None,
    quiet: bool = True,
) -> ConfusionMatrix:
    """Count labels against masks over a split, or over its first `limit` images."""
    matrix = ConfusionMatrix(len(images.dataset.classes))
    chosen = range(len(images))[:limit]
    for index in tqdm(chosen, desc="evaluate", unit="image", disable=quiet or None):
        frame, label = images.read(index)
        matrix.add(label, segment(frame))
    return matrix


def _check_classes(card: Card, images: LabelledImages, options: EvaluateOptions) -> None:
    if len(card.classes) != len(images.dataset.classes):
        raise InputError(
            f"{options.model} knows {len(card.classes)} classes, {options.dataset} has "
            f"{len(images.dataset.classes)}; choose the dataset that it was trained on"
        )


def table(matrix: ConfusionMatrix, card: Card) -> str:
    """Per-class IoU, mIoU and pixel accuracy, as text."""
    width = max(len(name) for name in card.classes)
    rows = [
        f"{name:<{width}}  {100 * iou:6.2f}"
        for name, iou in zip(card.classes, matrix.iou, strict=True)
    ]
    return "\n".join(
        [
            *rows,
            f"{'mIoU':<{width}}  {100 * matrix.mean_iou:6.2f}",
            f"{'pixels':<{width}}  {100 * matrix.pixel_accuracy:6.2f}",
        ]
    )


def save_json(path: Path, matrix: ConfusionMatrix, card: Card, conditions: dict[str, Any]) -> None:
    """Write the figures with what they were measured on."""
    record = {
        **conditions,
        "variant": card.variant,
        "precision": card.precision,
        "iou": {
            name: None if iou != iou else float(iou)
            for name, iou in zip(card.classes, matrix.iou, strict=True)
        },
        "miou": matrix.mean_iou,
        "pixel_accuracy": matrix.pixel_accuracy,
    }
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
