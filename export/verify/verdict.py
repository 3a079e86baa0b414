"""What was measured of a stage, judged by its gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.verify.agreement import Agreement
from export.verify.gates import GATES, Gate
from export.verify.preprocessing import cause_of_difference, input_limit
from refinenet.evaluation.metrics import ConfusionMatrix
from runtime.card import Card

PASSED, FAILED, NOT_RUN = "passed", "FAILED", "NOT RUN"


@dataclass(frozen=True)
class StageResult:
    """One line of the report. reason: why a stage failed or was not run. sha256: of its file."""

    name: str
    against: str
    status: str
    reason: str
    measures: dict[str, Any]
    sha256: str = ""


@dataclass(frozen=True)
class Labelled:
    """A stage, the stage before it and PyTorch, each against the labels."""

    stage: ConfusionMatrix
    before: ConfusionMatrix
    pytorch: ConfusionMatrix


def judged(
    name: str,
    before: str,
    agreement: Agreement,
    labelled: Labelled | None,
    card: Card,
    untrained: bool,
) -> StageResult:
    """The stage's result: everything measured, and every gate that it misses.

    untrained: judge scores instead of pixels, since the classes lie close.
    """
    precision = name.split(".")[0]
    gate = GATES[precision]
    measures = agreement.report(card.classes)
    problems = [
        *_of_the_input(agreement, input_limit(precision, card), card),
        *_of_the_scores(agreement, gate, untrained),
    ]
    if labelled is not None:
        measures |= _against_labels(labelled, card)
        loss = measures["miou_loss_points"]
        if not loss <= gate.miou_loss:  # NaN is no pass
            problems.append(f"loses {loss:.2f} points of mIoU (at most {gate.miou_loss})")
    status = FAILED if problems else PASSED
    return StageResult(name, before, status, "; ".join(problems), measures)


def first_that_loses(results: Sequence[StageResult]) -> StageResult | None:
    """The first stage that fails; where none does, the one whose scores differ most."""
    for result in results:
        if result.status == FAILED:
            return result
    scored = [row for row in results if row.measures.get("scores_rms_error") is not None]
    return max(scored, key=lambda row: row.measures["scores_rms_error"], default=None)


def _of_the_input(agreement: Agreement, limit: float, card: Card) -> list[str]:
    if agreement.input_error is None or agreement.input_error <= limit:
        return []
    cause = "" if agreement.inputs is None else cause_of_difference(*agreement.inputs, card)
    return [f"the network is fed other values, by up to {agreement.input_error:.2g}: {cause}"]


def _of_the_scores(agreement: Agreement, gate: Gate, untrained: bool) -> list[str]:
    problems = []
    largest, rms = agreement.largest_error, agreement.rms_error
    if largest is not None and not largest <= gate.largest_error:
        problems.append(f"scores differ by {largest:.1e} deviations (at most {gate.largest_error})")
    if largest is not None and not np.isfinite(largest):
        problems.append("scores are not finite: a value overflows")
    if untrained and rms is not None:
        if not rms <= gate.untrained_rms_error:
            problems.append(
                f"scores differ by {rms:.1e} deviations RMS (at most {gate.untrained_rms_error})"
            )
    elif agreement.pixels < gate.pixels:
        problems.append(f"{agreement.pixels:.3%} of pixels agree (at least {gate.pixels:.2%})")
    return problems


def _against_labels(labelled: Labelled, card: Card) -> dict[str, Any]:
    """IoU as a share; losses and changes in points, against the stage before."""
    iou, before = labelled.stage.mean_iou, labelled.before.mean_iou
    by_class = zip(card.classes, labelled.stage.iou, labelled.before.iou, strict=True)
    known = {name: (own, other) for name, own, other in by_class if np.isfinite([own, other]).all()}
    return {
        "miou": iou,
        "miou_of_pytorch": labelled.pytorch.mean_iou,
        "miou_loss_points": 100 * (before - iou),
        "class_iou": {name: float(own) for name, (own, _) in known.items()},
        "class_iou_change_points": {
            name: float(100 * (own - other)) for name, (own, other) in known.items()
        },
    }
