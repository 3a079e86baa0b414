"""Train a network by a recipe, in one process or several, with a run folder to resume from.

A run folder holds state.pt (the exact state after the last whole epoch), best.safetensors (the
weights with the best validation mIoU, with their card), log.csv, and epochs/ where asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from refinenet.data.datasets import LabelledImages, open_dataset
from refinenet.data.identity import data_identity
from refinenet.data.network_input import NetworkInput
from refinenet.evaluation.metrics import ConfusionMatrix
from refinenet.training.batches import Batches
from refinenet.training.compiling import compiled, compiler_errors
from refinenet.training.determinism import deterministic
from refinenet.training.distributed import Processes, processes
from refinenet.training.epoch import PassResult, TrainingPass
from refinenet.training.loss import PixelLoss, class_weights, label_counts
from refinenet.training.machine import default_device, on_this_machine
from refinenet.training.options import TrainOptions
from refinenet.training.recipes.recipe import Recipe, completed, recipe_from
from refinenet.training.run.run_folder import RunFolder
from refinenet.training.run.state import EpochRecord, TrainingState
from refinenet.training.run.summary import announce
from refinenet.training.start import fed, initial_state, started_from
from refinenet.training.validation import Validation
from refinenet.variants import score_size
from runtime.card import Card
from runtime.errors import CheckFailed, InputError
from runtime.normalization import Normalization

__all__ = ["TrainOptions", "train"]


def train(options: TrainOptions) -> Path:
    """Train, or go on training, in the run folder; returns the path of the best weights.

    Under torchrun every process calls it alike; all validate, the first writes.

    Raises InputError for data, options or a run folder that cannot be used, DeviceError without
    the device, CheckFailed if the loss is no longer a number.
    """
    if options.qat and options.weights is None:
        raise InputError("--qat fine-tunes trained weights; give them with --weights FILE")
    if options.qat and options.recipe.precision != "fp32":
        raise InputError(
            f"--qat with --precision {options.recipe.precision}; the rounding of INT8 is learned "
            "with --precision fp32 alone"
        )
    with (
        processes(options.device or default_device()) as team,
        deterministic(options.deterministic),
    ):
        images = open_dataset(options.dataset, options.data, "train")
        val_images = open_dataset(options.dataset, options.data, "val")
        options = on_this_machine(options, len(images), team)
        check_batch(options, len(images), team)
        folder = run_folder(options, images, val_images, team)
        saved = team.from_first(lambda: folder.open(options.resume))
        options = as_started(options, saved, len(images), team)
        state = initial_state(options, images, team)
        if saved is not None:
            state.restore(saved)
            if team.is_first:
                folder.write_results(state)
        # The first process alone has opened the folder, and knows what the run began with.
        normalization = team.from_first(lambda: folder.card.normalization)
        training = training_pass(options, state, images, normalization, team)
        validation = Validation(val_images, normalization, team, options.workers or 0)
        announce(options, state, images, team)
        with (
            compiler_errors(),
            training.batches.plain_errors(),  # a loader can die while this process validates
            progress(options, training) as bar,
            tensorboard(options, training) as write_scalars,
        ):
            while not state.finished:
                passed = training.run(bar.update)
                scores = validate(options, state, validation)
                state.records.append(epoch_record(state.epoch + 1, passed, scores))
                if team.is_first:
                    folder.save(state)
                write_scalars()
                bar.set_postfix_str(shown(state.records[-1]))
    return folder.best_file


def as_started(
    options: TrainOptions, saved: Mapping[str, Any] | None, images: int, team: Processes
) -> TrainOptions:
    """The options, with the recipe of the run that goes on."""
    if saved is None:
        return options
    recipe = completed(asdict(options.recipe), saved["identity"]["recipe"])
    options = replace(options, recipe=recipe_from(recipe))
    check_batch(options, images, team)
    return options


def check_batch(options: TrainOptions, images: int, team: Processes) -> None:
    """InputError unless the images fill a batch and the batch can be shared out evenly."""
    batch, shares = options.recipe.batch, team.world * options.accumulate
    if images < batch:
        raise InputError(f"{images} training images for batches of {batch}")
    if batch % shares:
        raise InputError(
            f"a batch of {batch} for {team.world} process(es) times {options.accumulate} "
            f"accumulated part(s); choose a --batch that {shares} divides"
        )


def run_folder(
    options: TrainOptions, images: LabelledImages, val_images: LabelledImages, team: Processes
) -> RunFolder:
    """The folder that this training writes, with the card of its weights."""
    dataset, recipe = images.dataset, asdict(options.recipe)
    means = {
        "device": team.device.type,
        "processes": team.world,
        "accumulate": options.accumulate,
        "deterministic": options.deterministic,
        "compiled": options.compile,
    }
    details: dict[str, Any] = {"dataset": options.dataset, "recipe": recipe, "means": means}
    if options.qat:
        details["quantization_aware"] = True
    if options.note is not None:
        details["note"] = options.note
    card = Card(
        variant=options.variant,
        classes=dataset.classes,
        palette=dataset.palette,
        ignore_id=dataset.ignore_id,
        **fed(options)._asdict(),
        license_note=dataset.license_note,
        parents=started_from(options),
        tools={"torch": torch.__version__},
        details=json.loads(json.dumps(details)),
    )
    identity = {
        "variant": options.variant,
        "training images": len(images),
        "recipe": recipe,
        **data_identity(options.data, {"train": images, "val": val_images}),
        # Only where it holds, so that the runs of earlier versions can go on.
        **({"quantization-aware": True} if options.qat else {}),
    }
    dtype = torch.float16 if options.half else torch.float32
    return RunFolder(options.output, identity, card, dtype, options.unasked, options.save_every)


def training_pass(
    options: TrainOptions,
    state: TrainingState,
    images: LabelledImages,
    normalization: Normalization,
    team: Processes,
) -> TrainingPass:
    """The pass over these images, with the loss and the batches that the recipe asks for."""
    recipe = options.recipe
    check_precision(recipe, team)
    if recipe.class_weights != "none" and state.label_counts is None:
        state.label_counts = team.from_first(lambda: label_counts(images))
    counts = state.label_counts or [0] * 256
    weights = class_weights(counts, len(images.dataset.classes), recipe.class_weights)
    crop = recipe.augmentation.crop
    if crop < state.model.least:
        raise InputError(f"--crop {crop}; {options.variant} needs at least {state.model.least}")
    at_scores = recipe.loss_at == "output"
    size = score_size(options.variant, (crop, crop)) if at_scores else None
    return TrainingPass(
        state,
        team.wrapped(compiled(state.model) if options.compile else state.model),
        NetworkInput(normalization, team.device),
        PixelLoss(weights.to(team.device), images.dataset.ignore_id, size),
        Batches(images, recipe, normalization, team, options.workers or 0),
        team,
        options.accumulate,
    )


def check_precision(recipe: Recipe, team: Processes) -> None:
    """InputError for fp16 on the CPU, which computes it far more slowly than the others."""
    if recipe.precision == "fp16" and team.device.type != "cuda":
        raise InputError("--precision fp16 needs --device cuda; on the CPU use bf16 or fp32")


def validate(
    options: TrainOptions, state: TrainingState, validation: Validation
) -> ConfusionMatrix | None:
    """What the kept weights do with these images; None after an epoch that is not validated."""
    epoch = state.epoch + 1
    if epoch % options.validate_every and epoch != options.recipe.epochs:
        return None
    return validation.run(state.kept)


def epoch_record(epoch: int, passed: PassResult, scores: ConfusionMatrix | None) -> EpochRecord:
    """The row of an epoch; CheckFailed if its loss is no longer a number."""
    if not math.isfinite(passed.loss):
        cause = (
            f"all {passed.skipped_steps} steps of epoch {epoch} overflowed in fp16; the run folder "
            "holds the epoch before. Train anew with --precision bf16 or fp32"
            if passed.skipped_steps
            else f"the loss became {passed.loss} in epoch {epoch}; the run folder holds the epoch "
            "before. Train anew with lower learning rates, or bound the gradients with --clip-norm"
        )
        raise CheckFailed(cause)
    return EpochRecord(
        epoch=epoch,
        loss=round(passed.loss, 4),
        val_miou=None if scores is None else round(scores.mean_iou, 4),
        val_pixel_accuracy=None if scores is None else round(scores.pixel_accuracy, 4),
        seconds=round(passed.seconds, 3),
        data_seconds=round(passed.data_seconds, 3),
        skipped_steps=passed.skipped_steps,
        class_iou=None if scores is None else tuple(map(_known, scores.iou)),
    )


def _known(iou: float) -> float | None:
    """Rounded; None for NaN, which JSON does not have."""
    return None if math.isnan(iou) else round(float(iou), 4)


def progress(options: TrainOptions, training: TrainingPass) -> tqdm[Any]:
    """A bar over all steps, in the first process, on a terminal."""
    steps, state = len(training.batches), training.state
    disable = options.quiet or not training.team.is_first or None  # None: shown on a terminal only
    total, done = options.recipe.epochs * steps, state.epoch * steps
    return tqdm(total=total, unit="step", disable=disable, initial=done)


def shown(record: EpochRecord) -> str:
    """The record in a few words."""
    score = "" if record.val_miou is None else f"mIoU {record.val_miou:.4f}, "
    return f"loss {record.loss:.4f}, {score}data {record.data_share:.0%}"


@contextmanager
def tensorboard(options: TrainOptions, training: TrainingPass) -> Iterator[Callable[[], None]]:
    """What to call after each epoch: it writes for TensorBoard, if that is asked for."""
    if not options.tensorboard or not training.team.is_first:
        yield lambda: None
        return
    from refinenet.training.run.tensorboard import TensorBoard

    with closing(TensorBoard(options.output / "tensorboard", training.state.epoch)) as board:
        yield lambda: board.write(training.state)
