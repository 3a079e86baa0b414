"""The state that a training starts from: a fresh network, a trained backbone, or trained whole."""

from __future__ import annotations

from pathlib import Path

import torch

from refinenet.checkpoints.load import (
    checkpoint_card,
    load_checkpoint,
    load_imagenet_backbone,
    weights_path,
)
from refinenet.data.datasets import LabelledImages
from refinenet.network import SegmentationNetwork
from refinenet.training.distributed import Processes
from refinenet.training.options import TrainOptions
from refinenet.training.qat import insert_fake_quantization
from refinenet.training.run.state import TrainingState
from refinenet.variants import create_model, normalization_of
from runtime.errors import InputError
from runtime.files import existing_file, sha256_of
from runtime.normalization import IMAGENET, Normalization


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
    if options.weights_key is not None and options.weights is None:
        raise InputError("--weights-key is of trained weights; give them with --weights FILE")
    if options.weights is not None:
        return _trained_model(options.weights, options, num_classes)
    model = create_model(options.variant, num_classes)
    if options.backbone_weights is not None:
        load_imagenet_backbone(model, options.backbone_weights)
    return model


def _trained_model(weights: Path, options: TrainOptions, num_classes: int) -> SegmentationNetwork:
    model, given = load_checkpoint(weights, _told(options), options.weights_key)
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


def fed(options: TrainOptions) -> Normalization:
    """What the network sees of an image: what it started from was trained with that."""
    if options.weights is not None:
        return checkpoint_card(options.weights, _told(options), options.weights_key).normalization
    if options.backbone_weights is not None:
        return IMAGENET  # torchvision's, whatever the published weights of the variant are fed
    return normalization_of(options.variant)


def _told(options: TrainOptions) -> str | None:
    """The variant, for weights whose keys alone may not tell it."""
    weights = options.weights
    return None if weights is None or weights.suffix == ".safetensors" else options.variant
