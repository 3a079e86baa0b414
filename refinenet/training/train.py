"""Train a network by a recipe, in one process or several, with a run folder to resume from.

A run folder holds state.pt (the exact state after the last whole epoch), best.safetensors (the
weights with the best validation mIoU, with their card) and log.csv.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from refinenet.checkpoints.load import (
    checkpoint_card,
    load_checkpoint,
    load_imagenet_backbone,
    weights_path,
)
from refinenet.data.datasets import LabelledImages, open_dataset
from refinenet.evaluation.evaluate import confusion
from refinenet.evaluation.metrics import ConfusionMatrix
from refinenet.evaluation.predict import predict
from refinenet.network import SegmentationNetwork
from refinenet.training.batches import Batches
from refinenet.training.determinism import deterministic
from refinenet.training.distributed import Processes, processes
from refinenet.training.epoch import PassResult, TrainingPass
from refinenet.training.loss import PixelLoss, class_weights
from refinenet.training.qat import insert_fake_quantization
from refinenet.training.recipe import Recipe, entries_before
from refinenet.training.run_folder import RunFolder
from refinenet.training.state import EpochRecord, TrainingState
from refinenet.variants import create_model, normalization_of, score_size
from runtime.card import Card
from runtime.errors import CheckFailed, InputError
from runtime.files import existing_file, sha256_of
from runtime.normalization import Normalization


@dataclass(frozen=True)
class TrainOptions:
    """What to train, on what, where to, and by which means; the recipe says how.

    backbone_weights: ImageNet weights to start from. weights: whole weights to fine-tune instead.
    new_classifier: of these, all but the last convolution, for other classes.
    accumulate: the parts in which a process computes its share of a batch, to save memory; their
    gradients add up to those of the whole.
    deterministic: only algorithms that give the same bits every time.
    half: store the best weights as float16.
    qat: fine-tune for INT8; the ranges of activations are kept beside the best weights.
    tensorboard: write the log for TensorBoard too, into the run folder.
    note: kept in the weights' card: what this run is for, what was tried before.
    """

    variant: str
    data: Path
    output: Path
    dataset: str = "camvid"
    recipe: Recipe = field(default_factory=Recipe)
    backbone_weights: Path | None = None
    weights: Path | None = None
    new_classifier: bool = False
    resume: bool = False
    workers: int = 1
    device: str = "cpu"
    accumulate: int = 1
    deterministic: bool = False
    validate_every: int = 1
    half: bool = False
    qat: bool = False
    tensorboard: bool = False
    note: str | None = None
    quiet: bool = False


def train(options: TrainOptions) -> Path:
    """Train, or go on training, in the run folder; returns the path of the best weights.

    Under torchrun every process calls it alike; the first validates and writes.

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
    with processes(options.device) as team, deterministic(options.deterministic):
        images = open_dataset(options.dataset, options.data, "train")
        val_images = open_dataset(options.dataset, options.data, "val")
        check_batch(options, len(images), team)
        folder = run_folder(options, images, team)
        saved = team.from_first(lambda: folder.open(options.resume))
        options = as_started(options, saved)
        state = initial_state(options, images, team)
        if saved is not None:
            state.restore(saved)
            if team.is_first:
                folder.write_results(state)
        normalization = folder.card.normalization
        training = training_pass(options, state, images, normalization, team)
        with (
            training.batches.plain_errors(),  # a loader can die while this process validates
            progress(options, training) as bar,
            tensorboard(options, training) as write_scalars,
        ):
            while not state.finished:
                passed = training.run(bar.update)
                scores = team.from_first(
                    lambda: validate(state, val_images, normalization, options, team)
                )
                state.records.append(epoch_record(state.epoch + 1, passed, scores))
                if team.is_first:
                    folder.save(state)
                write_scalars()
                bar.set_postfix_str(shown(state.records[-1]))
    return folder.best_file


def as_started(options: TrainOptions, saved: Mapping[str, Any] | None) -> TrainOptions:
    """The options, with what an earlier version did where the run that it saved does not say."""
    if saved is None:
        return options
    before = entries_before(saved["identity"]["recipe"])
    return replace(options, recipe=replace(options.recipe, **before))


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


def run_folder(options: TrainOptions, images: LabelledImages, team: Processes) -> RunFolder:
    """The folder that this training writes, with the card of its weights."""
    dataset, recipe = images.dataset, asdict(options.recipe)
    means = {
        "device": team.device.type,
        "processes": team.world,
        "accumulate": options.accumulate,
        "deterministic": options.deterministic,
    }
    details: dict[str, Any] = {"dataset": options.dataset, "recipe": recipe, "means": means}
    if options.qat:
        details["quantization_aware"] = True
    if options.note is not None:
        details["note"] = options.note
    normalization = (
        normalization_of(options.variant)
        if options.weights is None
        else checkpoint_card(options.weights).normalization
    )
    card = Card(
        variant=options.variant,
        classes=dataset.classes,
        palette=dataset.palette,
        ignore_id=dataset.ignore_id,
        **normalization._asdict(),
        license_note=dataset.license_note,
        parents=started_from(options),
        tools={"torch": torch.__version__},
        details=json.loads(json.dumps(details)),
    )
    identity = {
        "variant": options.variant,
        "dataset": options.dataset,
        "training images": len(images),
        "recipe": recipe,
        # Only where it holds, so that the runs of earlier versions can go on.
        **({"quantization-aware": True} if options.qat else {}),
    }
    dtype = torch.float16 if options.half else torch.float32
    return RunFolder(options.output, identity, card, dtype)


def started_from(options: TrainOptions) -> dict[str, str]:
    """The SHA-256 of the file that the training starts from, by its role; none if from nothing."""
    if options.weights is not None:
        return {"weights": sha256_of(weights_path(options.weights))}
    if options.backbone_weights is not None:
        return {"backbone": sha256_of(existing_file(options.backbone_weights))}
    return {}


def initial_state(options: TrainOptions, images: LabelledImages, team: Processes) -> TrainingState:
    """The state before the first epoch, on the device."""
    torch.manual_seed(options.recipe.seed)
    model = initial_model(options, images)
    if options.qat:
        insert_fake_quantization(model)
    model.to(team.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stubs
    return TrainingState(model, options.recipe, team.device)


def initial_model(options: TrainOptions, images: LabelledImages) -> SegmentationNetwork:
    """A network to start from: fresh, with a trained backbone, or trained whole."""
    num_classes = len(images.dataset.classes)
    if options.new_classifier and options.weights is None:
        raise InputError("--new-classifier is for trained weights; give them with --weights FILE")
    if options.weights is not None:
        return _trained_model(options.weights, options, num_classes)
    model = create_model(options.variant, num_classes)
    if options.backbone_weights is not None:
        load_imagenet_backbone(model, options.backbone_weights)
    return model


def _trained_model(weights: Path, options: TrainOptions, num_classes: int) -> SegmentationNetwork:
    model, given = load_checkpoint(weights)
    if given.variant != options.variant:
        raise InputError(f"{weights} is a {given.variant}; give --variant {given.variant}")
    if options.new_classifier:
        fresh = create_model(options.variant, num_classes)
        for name in model.classifiers:
            model.set_submodule(name, fresh.get_submodule(name))
    elif len(given.classes) != num_classes:
        raise InputError(
            f"{weights} has {len(given.classes)} classes; expected the {num_classes} of "
            f"{options.dataset}. To learn those instead: --new-classifier"
        )
    return model


def training_pass(
    options: TrainOptions,
    state: TrainingState,
    images: LabelledImages,
    normalization: Normalization,
    team: Processes,
) -> TrainingPass:
    """The pass over these images, with the loss and the batches that the recipe asks for."""
    recipe = options.recipe
    if recipe.precision == "fp16" and team.device.type != "cuda":
        raise InputError("--precision fp16 needs --device cuda; on the CPU use bf16 or fp32")
    weights = team.from_first(lambda: class_weights(images, recipe.class_weights))
    crop = recipe.augmentation.crop
    at_scores = recipe.loss_at == "output"
    size = score_size(options.variant, (crop, crop)) if at_scores else None
    return TrainingPass(
        state,
        team.wrapped(state.model),
        PixelLoss(weights.to(team.device), images.dataset.ignore_id, size),
        Batches(images, recipe, normalization, team, options.workers),
        team,
        options.accumulate,
    )


def validate(
    state: TrainingState,
    images: LabelledImages,
    normalization: Normalization,
    options: TrainOptions,
    team: Processes,
) -> ConfusionMatrix | None:
    """What the kept weights do with these images; None after an epoch that is not validated."""
    epoch = state.epoch + 1
    if epoch % options.validate_every and epoch != options.recipe.epochs:
        return None
    network = state.kept.eval()
    return confusion(
        lambda frame: predict(network, frame, normalization, device=team.device), images
    )


def epoch_record(epoch: int, passed: PassResult, scores: ConfusionMatrix | None) -> EpochRecord:
    """The row of an epoch; CheckFailed if its loss is no longer a number."""
    if not math.isfinite(passed.loss):
        raise CheckFailed(
            f"the loss became {passed.loss} in epoch {epoch}; the run folder holds the epoch "
            "before. Train anew with lower learning rates, or bound the gradients with --clip-norm"
        )
    return EpochRecord(
        epoch=epoch,
        loss=round(passed.loss, 4),
        val_miou=None if scores is None else round(scores.mean_iou, 4),
        val_pixel_accuracy=None if scores is None else round(scores.pixel_accuracy, 4),
        seconds=round(passed.seconds, 3),
        data_seconds=round(passed.data_seconds, 3),
    )


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
    from refinenet.training.tensorboard import TensorBoard

    with closing(TensorBoard(options.output / "tensorboard", training.state.epoch)) as board:
        yield lambda: board.write(training.state)
