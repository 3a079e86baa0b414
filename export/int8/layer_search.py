"""The largest set of INT8 layers within a budget of accuracy: searched on training images, reported
on validation images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tqdm import tqdm

from export.fp16_range import Peaks, kept_in_fp32
from export.int8.calibration import batch_of, run_on, session_with_outputs
from export.int8.runtimes import DEFAULT_RUNTIME
from export.int8.sensitivity import (
    LayerLoss,
    Sample,
    Trial,
    labelled_samples,
    layer_losses,
    open_trial,
    plain_samples,
    save_losses,
)
from export.to_int8 import Selection, int8_graph, reasons_for_fp32
from export.verify.agreement import Output
from export.verify.fp16_emulation import rounded_to_fp16
from export.verify.stages import scores_tensor
from refinenet.activation_ranges import Ranges
from refinenet.data.datasets import LabelledImages, check_classes, open_dataset
from refinenet.evaluation.metrics import ConfusionMatrix
from runtime.card import Card, read_card
from runtime.errors import InputError
from runtime.resize import restore

EXTRA_TRIALS = 8
SEARCHED, REPORTED = "train", "val"


@dataclass(frozen=True)
class SearchOptions:
    """data, dataset: labelled images. images: of the training images, so many are searched on,
    evenly spread; the report is on all validation images. sensitivity: a file for what each layer
    alone costs. int8_for: see weight_scales.py."""

    data: Path | None
    dataset: str
    images: int
    sensitivity: Path | None = None
    quiet: bool = False
    int8_for: str = DEFAULT_RUNTIME


def select_layers(
    fp32_path: Path, ranges: Ranges, peaks: Peaks, options: SearchOptions, budget_points: float
) -> Selection:
    """The largest set of INT8 layers that loses at most so many points of mIoU.

    Raises InputError if the data cannot be used or a layer has no range.
    """
    train, val = (open_labelled(fp32_path, options, split) for split in (SEARCHED, REPORTED))
    samples = labelled_samples(train, options.images)
    trial = open_trial(fp32_path, ranges, samples, options.quiet, options.int8_for)
    losses = layer_losses(trial)
    if options.sensitivity is not None:
        save_losses(losses, trial, ranges, options.sensitivity)
    model = onnx.load(fp32_path)
    kept = kept_in_fp32(model, peaks)
    in_fp32 = reasons_for_fp32(model, kept)
    offered = [loss for loss in losses if loss.layer not in in_fp32]
    found = search(trial, offered, budget_points)
    unfit = {name: reason for name, reason in trial.by_rule.items() if name not in found.offered}
    left = {**unfit, **found.left, **in_fp32}
    int8 = int8_graph(onnx.load(fp32_path), left, ranges, kept, options.int8_for)
    record = {
        "budget_points": budget_points,
        "dataset": options.dataset,
        "searched_on": {
            "split": SEARCHED,
            "images": len(samples),
            "loss_points": round(found.loss_points, 3),
            "sets_tried": found.trials,
        },
        "reported_on": {
            "split": REPORTED,
            **report(model, int8, trial.card, labelled_samples(val), options.quiet),
        },
    }
    return Selection(left, record)


def open_labelled(fp32_path: Path, options: SearchOptions, split: str) -> LabelledImages:
    """A split of the data; InputError if it cannot be used, or has other classes than the file."""
    if options.data is None:
        raise InputError("a search needs labelled images; give --data DIR")
    images = open_dataset(options.dataset, options.data, split)
    check_classes(images, options.dataset, read_card(fp32_path), fp32_path)
    return images


@dataclass(frozen=True)
class Found:
    """int8: the layers within the budget. loss_points: what they cost on the searched images.
    left: the others that could have been INT8, and why they are not. trials: sets tried."""

    int8: tuple[str, ...]
    loss_points: float
    left: dict[str, str]
    trials: int

    @property
    def offered(self) -> set[str]:
        """All layers that the search could choose from."""
        return {*self.int8, *self.left}


def search(trial: Trial, losses: Sequence[LayerLoss], budget_points: float) -> Found:
    """Take layers in, the least sensitive first, as long as the loss of mIoU stays in the budget.

    The number of layers is found by bisection, as if the loss grew with it; since it does so only
    roughly, the next EXTRA_TRIALS layers are then tried one by one on top.
    """
    order = [loss.layer for loss in sorted(losses, key=lambda loss: loss.scores_error)]
    losing = _Losing(trial)
    low, high = 0, len(order) + 1  # low layers are within the budget, high are not
    while high - low > 1:
        # First all of them: a network that takes INT8 well is done with one trial.
        count = len(order) if high > len(order) else (low + high) // 2
        low, high = (count, high) if losing(order[:count]) <= budget_points else (low, count)
    chosen, left = order[:low], {}
    for tried, layer in enumerate(order[low:]):
        within = 0 < tried <= EXTRA_TRIALS and losing([*chosen, layer]) <= budget_points
        if within:
            chosen.append(layer)
        else:
            left[layer] = _reason(layer, losses, budget_points)
    return Found(tuple(chosen), losing(chosen), left, losing.trials)


def measure_sensitivity(
    fp32_path: Path, ranges: Ranges, options: SearchOptions, images: Sequence[Path]
) -> None:
    """Write what each layer alone costs, on labelled training images, or on these images.

    Raises InputError without either, or if a layer has no range.
    """
    if options.sensitivity is None or (options.data is None and not images):
        raise InputError("no images to measure layers on; give --data, or images to calibrate on")
    if options.data is not None:
        train = open_labelled(fp32_path, options, SEARCHED)
        samples = labelled_samples(train, options.images)
    else:
        samples = plain_samples(images, options.images)
    trial = open_trial(fp32_path, ranges, samples, options.quiet, options.int8_for)
    save_losses(layer_losses(trial), trial, ranges, options.sensitivity)


class _Losing:
    """How much mIoU, in points, a set of INT8 layers loses on the trial's images."""

    def __init__(self, trial: Trial) -> None:
        self._trial, self._known = trial, dict[frozenset[str], float]()
        self._reference = self._miou(())

    @property
    def trials(self) -> int:
        return len(self._known)

    def __call__(self, layers: Collection[str]) -> float:
        chosen = frozenset(layers)
        if chosen not in self._known:
            self._known[chosen] = 100 * (self._reference - self._miou(chosen)) if chosen else 0.0
        return self._known[chosen]

    def _miou(self, layers: Collection[str]) -> float:
        def run(frames: Any) -> Output:
            return self._trial.network(frames, layers)

        title = f"search: {len(layers)} layers"
        return _miou(run, self._trial.card, self._trial.samples, title, self._trial.quiet)


def report(
    fp32: onnx.ModelProto, int8: onnx.ModelProto, card: Card, samples: Sequence[Sample], quiet: bool
) -> dict[str, float | int]:
    """What the finished INT8 graph loses against FP32 on labelled images, FP16 rounded too."""
    miou = {
        name: _miou(_runner(model), card, samples, f"report: {name}", quiet)
        for name, model in (("fp32", fp32), ("int8", rounded_to_fp16(int8)))
    }
    loss = 100 * (miou["fp32"] - miou["int8"])
    return {"images": len(samples), **miou, "loss_points": loss}


def _runner(model: onnx.ModelProto) -> Any:
    session = session_with_outputs(model, [scores_tensor(model)])

    def run(frames: Any) -> Output:
        (scores,) = run_on(session, None, frames, "a labelled image")
        return Output(scores[0].argmax(0).astype(np.uint8), scores[0])

    return run


def _miou(run: Any, card: Card, samples: Sequence[Sample], title: str, quiet: bool) -> float:
    matrix = ConfusionMatrix(len(card.classes))
    for read in tqdm(samples, desc=title, unit="image", disable=quiet or None):
        frame, label = read()
        assert label is not None  # the samples are of a labelled split
        matrix.add(label, restore(run(batch_of(frame, card)).mask, frame.shape[:2], card))
    return matrix.mean_iou


def _reason(layer: str, losses: Sequence[LayerLoss], budget_points: float) -> str:
    loss = next(loss for loss in losses if loss.layer == layer)
    return (
        f"beyond the budget of {budget_points:g} points of mIoU; alone it changes the scores by "
        f"{loss.scores_error:.2g} deviations and {loss.pixels_changed:.2%} of the pixels"
    )
