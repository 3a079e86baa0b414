"""Train a network: the recipe, the loop, and a run folder to resume from.

A run folder holds state.pt (weights, averaged weights, optimizer, schedule, random generator: the
exact state after the last whole epoch), best.safetensors (the averaged weights with the best
validation mIoU, with their card) and log.csv.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from tqdm import tqdm

from refinenet.augmentation import Augmentation, augment, to_input
from refinenet.checkpoints import load_checkpoint, load_imagenet_backbone, save_checkpoint
from refinenet.datasets import LabelledImages, open_dataset
from refinenet.evaluate import confusion, predict
from refinenet.variants import create_model
from runtime.card import Card
from runtime.errors import InputError
from runtime.files import output_folder, written_whole


@dataclass(frozen=True)
class Recipe:
    """How to train; the defaults are what the shipped CamVid weights were trained with.

    optimizer: adamw, or sgd with momentum 0.9 as in the papers.
    backbone_lr, decoder_lr: initial learning rates; the backbone is already trained.
    schedule: poly, (1 - progress) ** 0.9, or step, the light-weight paper's 1, 1/2, 1/5 by thirds.
    warmup: the share of the training in which the learning rates rise from zero.
    class_weights: none, or sqrt, the square root of median frequency over frequency.
    ema: decay of the averaged weights, which are the ones that are kept; 0 for none.
    """

    epochs: int = 26
    batch: int = 8
    optimizer: Literal["adamw", "sgd"] = "adamw"
    backbone_lr: float = 3e-4
    decoder_lr: float = 1e-3
    weight_decay: float = 1e-2
    schedule: Literal["poly", "step"] = "poly"
    warmup: float = 0.03
    class_weights: Literal["none", "sqrt"] = "sqrt"
    ema: float = 0.99
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True)
class TrainOptions:
    """What to train, on what, and where to.

    backbone_weights: ImageNet weights to start from. weights: whole weights to fine-tune instead.
    half: store the best weights as float16.
    """

    variant: str
    data: Path
    output: Path
    dataset: str = "camvid"
    recipe: Recipe = field(default_factory=Recipe)
    backbone_weights: Path | None = None
    weights: Path | None = None
    resume: bool = False
    workers: int = 1
    device: str = "cpu"
    validate_every: int = 1
    half: bool = False
    quiet: bool = False


class TrainingSamples(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """One epoch of augmented samples.

    Each is drawn from a generator of its own, seeded by (seed, epoch, index): the same whichever
    worker draws it, and the same again after a resume.
    """

    def __init__(self, images: LabelledImages, recipe: Recipe, epoch: int) -> None:
        self.images, self.recipe, self.epoch = images, recipe, epoch

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.recipe.seed, self.epoch, index))
        frame, label = self.images.read(index)
        ignore_id = self.images.dataset.ignore_id
        frame, label = augment(frame, label, ignore_id, self.recipe.augmentation, rng)
        return to_input(frame), torch.from_numpy(label).long()


class Run:
    """The whole state of a training: what --resume brings back."""

    def __init__(self, model: nn.Module, recipe: Recipe, steps_per_epoch: int) -> None:
        self.model = model
        self.recipe = recipe
        self.optimizer = make_optimizer(model, recipe)
        total = recipe.epochs * steps_per_epoch
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step / total, recipe)
        )
        self.averaged = AveragedModel(
            model,
            multi_avg_fn=get_ema_multi_avg_fn(recipe.ema),  # type: ignore[no-untyped-call]
        )
        self.epoch = 0
        self.best_miou = -1.0

    def save(self, path: Path) -> None:
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
            "epoch": self.epoch,
            "best_miou": self.best_miou,
            "recipe": asdict(self.recipe),
        }
        with written_whole(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            changes = _difference(state["recipe"], self.recipe)
            raise InputError(
                f"{path} was trained with another recipe ({changes}); resume with the same "
                "options, or start in another folder"
            )
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])
        self.epoch, self.best_miou = state["epoch"], state["best_miou"]


def train(options: TrainOptions) -> Path:
    """Train, or go on training, in the run folder; returns the path of the best weights."""
    recipe = options.recipe
    train_images = open_dataset(options.dataset, options.data, "train")
    val_images = open_dataset(options.dataset, options.data, "val")
    if len(train_images) < recipe.batch:
        raise InputError(f"{len(train_images)} training images for batches of {recipe.batch}")
    folder = output_folder(options.output)
    state_path, best_path = folder / "state.pt", folder / "best.safetensors"
    if state_path.exists() and not options.resume:
        raise InputError(
            f"{folder} already holds a training run; add --resume to go on with it, or choose "
            "another folder"
        )
    torch.manual_seed(recipe.seed)
    model, card = initial_model(options, train_images)
    model.to(options.device)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stubs
    run = Run(model, recipe, len(train_images) // recipe.batch)
    if state_path.exists():
        run.load(state_path)
    weights = class_weights(train_images, recipe).to(options.device)
    steps = len(train_images) // recipe.batch * recipe.epochs
    disable = options.quiet or None  # None: shown on a terminal only
    with tqdm(total=steps, unit="step", disable=disable, initial=run.schedule.last_epoch) as bar:
        while run.epoch < recipe.epochs:
            loss = train_epoch(run, train_images, weights, options, bar)
            run.epoch += 1
            row: dict[str, Any] = {"epoch": run.epoch, "loss": round(loss, 4)}
            if run.epoch % options.validate_every == 0 or run.epoch == recipe.epochs:
                row |= validate(run, val_images, options)
                if row["val_miou"] > run.best_miou:
                    run.best_miou = row["val_miou"]
                    dtype = torch.float16 if options.half else torch.float32
                    kept = described(card, options, row)
                    save_checkpoint(best_path, run.averaged.module, kept, dtype)
            run.save(state_path)
            append_log(folder / "log.csv", row)
            bar.set_postfix(row)
    return best_path


def initial_model(options: TrainOptions, images: LabelledImages) -> tuple[nn.Module, Card]:
    """A network to start from and its card: fresh, with a trained backbone, or fine-tuned whole."""
    dataset = images.dataset
    card = Card(
        variant=options.variant,
        classes=dataset.classes,
        palette=dataset.palette,
        ignore_id=dataset.ignore_id,
        license_note=dataset.license_note,
        tools={"torch": torch.__version__},
    )
    if options.weights is not None:
        model, given = load_checkpoint(options.weights)
        if (given.variant, len(given.classes)) != (options.variant, len(dataset.classes)):
            raise InputError(
                f"{options.weights} is a {given.variant} with {len(given.classes)} classes; "
                f"expected {options.variant} with the {len(dataset.classes)} of {options.dataset}"
            )
        return model, card
    model = create_model(options.variant, len(dataset.classes))
    if options.backbone_weights is not None:
        load_imagenet_backbone(model, options.backbone_weights)
    return model, card


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Backbone and decoder as two parameter groups with learning rates of their own."""
    backbone = list(model.get_submodule("backbone").parameters())
    known = {id(parameter) for parameter in backbone}
    decoder = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups: list[dict[str, Any]] = [
        {"params": backbone, "lr": recipe.backbone_lr},
        {"params": decoder, "lr": recipe.decoder_lr},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def learning_rate_factor(progress: float, recipe: Recipe) -> float:
    """What the initial learning rates are multiplied by at a progress of 0 to 1."""
    warm = min(1.0, progress / recipe.warmup) if recipe.warmup else 1.0
    if recipe.schedule == "step":
        return warm * (1.0, 0.5, 0.2)[min(2, int(3 * progress))]
    return warm * float(max(0.0, 1 - progress) ** 0.9)


def train_epoch(
    run: Run, images: LabelledImages, weights: Tensor, options: TrainOptions, bar: tqdm[Any]
) -> float:
    """One pass over the images in a random order; the mean loss."""
    run.model.train()
    losses: list[float] = []
    for batch, labels in _batches(images, run, options):
        batch = batch.to(options.device, memory_format=torch.channels_last)
        scores = F.interpolate(run.model(batch), labels.shape[-2:], mode="bilinear")
        loss = F.cross_entropy(
            scores, labels.to(options.device), weights, ignore_index=images.dataset.ignore_id
        )
        run.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        run.schedule.step()
        run.averaged.update_parameters(run.model)
        losses.append(float(loss.item()))
        bar.update()
    return sum(losses) / len(losses)


def _batches(
    images: LabelledImages, run: Run, options: TrainOptions
) -> Iterator[tuple[Tensor, Tensor]]:
    # A generator of its own for the order: what the loader draws must not shift the dropout's.
    order = torch.Generator().manual_seed(1_000_003 * run.recipe.seed + run.epoch)
    loader = DataLoader(
        TrainingSamples(images, run.recipe, run.epoch),
        batch_size=run.recipe.batch,
        shuffle=True,
        drop_last=True,
        generator=order,
        num_workers=options.workers,
    )
    yield from loader


def validate(run: Run, images: LabelledImages, options: TrainOptions) -> dict[str, float]:
    """What the averaged weights reach on these images."""
    averaged = run.averaged.module.eval()
    matrix = confusion(lambda frame: predict(averaged, frame, device=options.device), images)
    return {
        "val_miou": round(matrix.mean_iou, 4),
        "val_pixel_accuracy": round(matrix.pixel_accuracy, 4),
    }


def class_weights(images: LabelledImages, recipe: Recipe) -> Tensor:
    """The loss weight of every class, (C,) float32."""
    counts = np.zeros(256, np.int64)
    if recipe.class_weights == "none":
        return torch.ones(len(images.dataset.classes))
    for index in range(len(images)):
        counts += np.bincount(images.read(index)[1].ravel(), minlength=256)
    frequency: NDArray[np.float64] = counts[: len(images.dataset.classes)] / counts.sum()
    occurring = frequency > 0
    weights = np.ones_like(frequency)
    weights[occurring] = np.sqrt(np.median(frequency[occurring]) / frequency[occurring])
    return torch.from_numpy(weights).float()


def described(card: Card, options: TrainOptions, row: dict[str, Any]) -> Card:
    """The card of weights from this run: recipe, and what was read on val."""
    details = {"dataset": options.dataset, "recipe": asdict(options.recipe), "result": row}
    return replace(card, details=json.loads(json.dumps(details)))


def append_log(path: Path, row: dict[str, Any]) -> None:
    columns = ("epoch", "loss", "val_miou", "val_pixel_accuracy")
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _difference(saved: dict[str, Any], recipe: Recipe) -> str:
    given = asdict(recipe)
    return ", ".join(
        f"{key} {saved.get(key)}, now {given[key]}" for key in given if saved.get(key) != given[key]
    )
