"""What the models of a benchmark were exported from: weights, or a network of the user's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from export.factory import open_network, read_source, source_file
from export.to_onnx import WEIGHTS_KEY, example_size
from refinenet.checkpoints.load import weights_path
from runtime.card import Card


@dataclass(frozen=True)
class Origin:
    """What the models were exported from.

    weights: a file, or the name of weights that ship with the package. factory: module:function of
    a network of the user's. One of them may be None.
    model: the card of one of the models, which says what such a network is fed.
    """

    weights: str | Path | None
    factory: str | None
    model: Card

    @property
    def file(self) -> Path:
        """Of the weights; of the factory's code, where it has none."""
        if self.weights is not None:
            return weights_path(self.weights)
        return source_file(self.factory or "")

    def open(self) -> tuple[nn.Module, Card]:
        """The network in evaluation mode, and the card of what it is fed."""
        key = self.model.details.get(WEIGHTS_KEY)
        opened = open_network(self.weights, self.factory, key and str(key))
        if opened.card is not None and len(opened.card.classes) > 1:
            return opened.network, opened.card
        source = read_source(opened, self.model, example_size(self.model))
        return source.network, replace(source.card, details={})
