"""How to train: a recipe, the published ones by name, and its learning rates; without torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from refinenet.data.augmentation import Augmentation
from runtime.errors import InputError

ClassWeights = Literal["none", "sqrt", "median"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learned; the defaults are the preset camvid-mobilenet.

    batch: images per step of the optimizer, over all processes and accumulated parts.
    optimizer: adamw, or sgd with momentum as in the papers.
    backbone_lr, decoder_lr: initial learning rates; the backbone is already trained.
    decayed: weights, weight decay acts on all parameters but biases and those of norms; or all.
    schedule: poly, (1 - progress) ** poly_power, or step, the step_factors one after the other.
    warmup: the share of the training in which the learning rates rise from zero.
    loss_at: image, scores upsampled to the label; output, labels sampled at the scores' size.
    class_weights: none; median, median frequency over frequency; or sqrt, its square root.
    ema: decay of the averaged weights, which are the ones that are kept; 0 for no averaging. The
    decay rises to it from 0, or the first weights would weigh most in a short training.
    precision: of the forward pass; weights, gradients and loss stay float32.
    clip_norm: the largest norm of the gradients; 0 for no clipping.
    patience: epochs without a better validation mIoU after which to stop; 0 for never.
    """

    epochs: int = 26
    batch: int = 8
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    backbone_lr: float = 3e-4
    decoder_lr: float = 1e-3
    weight_decay: float = 1e-2
    decayed: Literal["weights", "all"] = "weights"
    schedule: Literal["poly", "step"] = "poly"
    poly_power: float = 0.9
    step_factors: tuple[float, ...] = (1.0, 0.5, 0.2)
    warmup: float = 0.03
    loss_at: Literal["image", "output"] = "image"
    class_weights: ClassWeights = "sqrt"
    ema: float = 0.99
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip_norm: float = 0.0
    patience: int = 0
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name in ("backbone_lr", "decoder_lr", "weight_decay", "momentum", "warmup", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected 0 to 1")
        for name in ("poly_power", "clip_norm", "patience"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not self.step_factors or not all(0 <= factor <= 1 for factor in self.step_factors):
            raise InputError(f"step_factors are {self.step_factors}; expected some of 0 to 1")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; expected 0 to 2**32 - 1")


# Lin et al. 2017, from the authors' code: cross entropy at stride 4, one image per step, the rates
# divided by 10 by hand. When is not on record; halfway through is this table's choice.
REFINENET_PAPER = Recipe(
    epochs=600,
    batch=1,
    optimizer="sgd",
    backbone_lr=5e-5,
    decoder_lr=5e-4,
    weight_decay=5e-4,
    decayed="all",
    schedule="step",
    step_factors=(1.0, 0.1),
    warmup=0.0,
    loss_at="output",
    class_weights="none",
    ema=0.0,
    augmentation=Augmentation(crop=400, scales=(0.7, 1.3), colour=0.0),
)

# Nekrasov et al. 2018, from their code: three stages of 100 epochs, whose learning rates are
# 5e-4, 2.5e-4, 1e-4 (backbone) and 5e-3, 2.5e-3, 1e-3 (decoder).
LIGHT_WEIGHT = Recipe(
    epochs=300,
    batch=6,
    optimizer="sgd",
    backbone_lr=5e-4,
    decoder_lr=5e-3,
    weight_decay=1e-5,
    decayed="all",
    schedule="step",
    step_factors=(1.0, 0.5, 0.2),
    warmup=0.0,
    class_weights="none",
    ema=0.0,
    augmentation=Augmentation(crop=500, scales=(0.5, 2.0), shorter_side=350, colour=0.0),
)

# Shelhamer et al. 2017, "heavy" learning as in wkentaro's pytorch-fcn: whole images one by one.
# Their rate of 1e-10 is for the sum over the pixels, here for their mean: VOC's images have 187500.
# 100000 steps are 12 epochs of SBD. Theirs doubles the rate of biases and spares them the decay.
FCN = Recipe(
    epochs=12,
    batch=1,
    optimizer="sgd",
    momentum=0.99,
    backbone_lr=2e-5,
    decoder_lr=2e-5,
    weight_decay=5e-4,
    decayed="all",
    schedule="step",
    step_factors=(1.0,),
    warmup=0.0,
    class_weights="none",
    ema=0.0,
    augmentation=Augmentation(crop=500, scales=(1.0, 1.0), flip=0.0, colour=0.0),
)

# torchvision's references/segmentation; theirs adds half the loss of an auxiliary head.
TORCHVISION_FCN = Recipe(
    epochs=30,
    batch=32,
    optimizer="sgd",
    backbone_lr=0.02,
    decoder_lr=0.02,
    weight_decay=1e-4,
    decayed="all",
    warmup=0.0,
    class_weights="none",
    ema=0.0,
    augmentation=Augmentation(crop=480, scales=(0.5, 2.0), shorter_side=260, colour=0.0),
)

# Ronneberger et al. 2015 name the momentum and the batch of one image. The rest is this table's
# choice, and the bound of the gradients milesial's.
UNET = Recipe(
    epochs=100,
    batch=1,
    optimizer="sgd",
    momentum=0.99,
    backbone_lr=1e-3,
    decoder_lr=1e-3,
    weight_decay=0.0,
    decayed="all",
    warmup=0.0,
    class_weights="none",
    ema=0.0,
    clip_norm=1.0,
    augmentation=Augmentation(crop=512, scales=(0.5, 2.0), colour=0.0),
)

# Chen et al. 2017, numbers as in kazuto1011's deeplab-pytorch: 20000 steps are 19 epochs of VOC
# with SBD. Theirs adds the losses at each of the three scales.
DEEPLAB_V2 = Recipe(
    epochs=19,
    batch=10,
    optimizer="sgd",
    backbone_lr=2.5e-4,
    decoder_lr=2.5e-3,
    weight_decay=5e-4,
    decayed="all",
    warmup=0.0,
    class_weights="none",
    ema=0.0,
    augmentation=Augmentation(crop=321, scales=(0.5, 1.5), colour=0.0),
)
# Entries that the recipes of earlier versions did not have, with what those versions did.
BEFORE: Mapping[str, Any] = MappingProxyType({"decayed": "all"})

PRESETS = MappingProxyType(
    {
        "camvid-mobilenet": Recipe(),
        "refinenet-paper": REFINENET_PAPER,
        "light-weight": LIGHT_WEIGHT,
        "fcn": FCN,
        "torchvision-fcn": TORCHVISION_FCN,
        "unet": UNET,
        "deeplab-v2": DEEPLAB_V2,
    }
)


# The least steps that an epoch of a small data set is to have, by smaller batches.
LEAST_STEPS = 8


def fitted(
    recipe: Recipe, unasked: Collection[str], images: int, shares: int, has_bf16: bool
) -> Recipe:
    """The recipe for this data and machine, in the entries that nobody asked for.

    images: for training. shares: the parts that a batch must be divisible into.
    has_bf16: whether the machine's GPU computes in bf16.

    Few images make smaller batches: 26 epochs of one step would not train a network.
    """
    if "batch" in unasked:
        batch = min(recipe.batch, max(1, images // LEAST_STEPS))
        recipe = replace(recipe, batch=max(1, batch // shares) * shares)
    if "precision" in unasked and has_bf16:
        recipe = replace(recipe, precision="bf16")
    return recipe


def resumed(
    given: Mapping[str, Any], saved: Mapping[str, Any], unasked: Collection[str]
) -> dict[str, Any]:
    """The recipe by which a saved run goes on if the given one is wanted, both as dictionaries.

    The saved run decides entries that nobody asked for. Where it lacks an entry, since an earlier
    version started it, that version's way holds.
    """
    recipe = dict(given)
    for name, value in given.items():
        if name not in saved:
            recipe[name] = BEFORE.get(name, value)
        elif isinstance(value, dict):
            recipe[name] = resumed(value, saved[name], unasked)
        elif name in unasked:
            recipe[name] = saved[name]
    return recipe


def completed(given: Mapping[str, Any], saved: Mapping[str, Any]) -> dict[str, Any]:
    """The saved recipe, with an earlier version's way for every entry that it lacks."""
    recipe = dict(saved)
    for name, value in given.items():
        if name not in saved:
            recipe[name] = BEFORE.get(name, value)
        elif isinstance(value, dict):
            recipe[name] = completed(value, saved[name])
    return recipe


def recipe_from(entries: Mapping[str, Any]) -> Recipe:
    """The recipe that a dictionary holds."""
    return Recipe(**{**entries, "augmentation": Augmentation(**entries["augmentation"])})


def learning_rate_factor(progress: float, recipe: Recipe) -> float:
    """What the initial learning rates are multiplied by at a progress of 0 to 1."""
    warm = min(1.0, progress / recipe.warmup) if recipe.warmup else 1.0
    if recipe.schedule == "step":
        stages = len(recipe.step_factors)
        return warm * recipe.step_factors[min(stages - 1, int(stages * progress))]
    return warm * float(max(0.0, 1 - progress) ** recipe.poly_power)
