"""What the models of a benchmark were exported from: weights, or a network of the user's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from export.factory import open_network, read_source, source_file
from export.to_onnx import WEIGHTS_KEY, example_size
from refinenet.checkpoints.load import weights_path
from refinenet.variants import VARIANTS
from runtime.card import Card


@dataclass(frozen=True)
class Origin:
    """What the models were exported from.

    weights: a file, or the name of weights that ship with the package. factory: module:function of
    a network of the user's. One of them may be None.
    model: the card of one of the models, which says what such a network is fed; None without one.
    """

    weights: str | Path | None
    factory: str | None
    model: Card | None

    @property
    def file(self) -> Path:
        """Of the weights; of the factory's code, where it has none."""
        if self.weights is not None:
            return weights_path(self.weights)
        return source_file(self.factory or "")

    def open(self) -> tuple[nn.Module, Card]:
        """The network in evaluation mode, and the card of what it is fed."""
        model = self.model
        key = None if model is None else model.details.get(WEIGHTS_KEY)
        # As it was exported: the keys alone do not always tell.
        known = model is not None and model.variant.partition("+")[0] in VARIANTS
        variant = model.variant if model is not None and known else None
        opened = open_network(
            self.weights, self.factory, variant=variant, weights_key=key and str(key)
        )
        source = read_source(opened, model, example_size(model) if model else (64, 64))
        if source.network is opened.network:
            return source.network, source.card
        return source.network, replace(source.card, details={})
