"""What to train, on what, where to, and by which means."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from refinenet.training.recipes.recipe import Recipe


@dataclass(frozen=True)
class TrainOptions:
    """What to train, on what, where to, and by which means; the recipe says how.

    backbone_weights: ImageNet weights to start from. weights: whole weights to fine-tune instead.
    weights_key: which of several sets of weights in that file.
    new_classifier: of these, all but the classifiers, for other classes.
    unasked: entries of the recipe that nobody asked for: they follow from the data and the machine,
    and from the saved run when that goes on.
    workers: loader processes of each process. device: cpu, cuda, … Both: None for what
    machine.py says.
    accumulate: the parts in which a process computes its share of a batch, to save memory; their
    gradients add up to those of the whole.
    deterministic: only algorithms that give the same bits every time.
    compile: compile the network for training, with torch.compile.
    save_every: keep the weights after every so many epochs; 0 for never.
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
    unasked: frozenset[str] = frozenset()
    backbone_weights: Path | None = None
    weights: Path | None = None
    weights_key: str | None = None
    new_classifier: bool = False
    resume: bool = False
    workers: int | None = None
    device: str | None = None
    accumulate: int = 1
    deterministic: bool = False
    compile: bool = False
    validate_every: int = 1
    save_every: int = 0
    half: bool = False
    qat: bool = False
    tensorboard: bool = False
    note: str | None = None
    quiet: bool = False
