"""Any checkpoint to a .safetensors file of this project, with its card."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from refinenet.checkpoints.load import load_checkpoint, save_checkpoint, weights_path
from refinenet.data.datasets import find_dataset, voc_palette
from refinenet.variants import create_model, join_variant, split_variant
from runtime.card import Card
from runtime.errors import InputError
from runtime.files import sha256_of, small_text


@dataclass(frozen=True)
class ConvertOptions:
    """half: store float16.
    classes: a text file of class names, one per line, by id.
    dataset: a known one, or a file that describes one: its classes, colours and ignore id.
    pooling: the order of the chained residual pooling, which no key tells; None for the card's,
    and for pool-conv where there is no card.
    variant: whose weights they are, where the keys do not tell.
    weights_key: which of several sets of weights in the file, such as averaged ones.
    note: kept in the card: where the weights come from, what was tried.
    """

    half: bool = False
    classes: Path | None = None
    dataset: str | None = None
    pooling: str | None = None
    note: str | None = None
    variant: str | None = None
    weights_key: str | None = None


def convert(weights: str | Path, output: Path, options: ConvertOptions) -> Path:
    """Write a checkpoint as safetensors; loaded again, it gives the same scores.

    weights: whatever refinenet.load_model takes.

    Raises InputError or CheckpointError for weights that cannot be read, InputError for names that
    are not as many as the classes.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"{output} does not end in .safetensors, the format of converted weights")
    weights = weights_path(weights)
    model, card = load_checkpoint(weights, options.variant, options.weights_key)
    card = replace(
        _named(card, weights, options),
        parents={"weights": sha256_of(weights)},
        tools={"torch": torch.__version__},
    )
    if options.weights_key is not None:
        card = replace(card, details={**card.details, "taken_from": options.weights_key})
    if options.note is not None:
        card = replace(card, details={**card.details, "note": options.note})
    if options.pooling is not None:
        row, pooling = split_variant(card.variant)
        variant = join_variant(row, replace(pooling, order=options.pooling))
        card = replace(card, variant=variant)
        pooled = create_model(variant, len(card.classes))
        pooled.load_state_dict(model.state_dict())
        model = pooled
    save_checkpoint(output, model, card, torch.float16 if options.half else torch.float32)
    return output


def _named(card: Card, weights: Path, options: ConvertOptions) -> Card:
    """The card with the classes that the options name."""
    if options.dataset is not None:
        dataset = find_dataset(options.dataset)
        named = replace(
            card,
            classes=dataset.classes,
            palette=dataset.palette,
            ignore_id=dataset.ignore_id,
            license_note=dataset.license_note,
        )
    elif options.classes is not None:
        names = _lines(options.classes)
        named = replace(card, classes=names, palette=voc_palette(len(names)), ignore_id=None)
    else:
        return card
    if len(named.classes) != len(card.classes):
        raise InputError(
            f"{options.classes or options.dataset} names {len(named.classes)} classes; {weights} "
            f"has {len(card.classes)}"
        )
    return named


def _lines(path: Path) -> tuple[str, ...]:
    return tuple(line.strip() for line in small_text(path).splitlines() if line.strip())
