"""Published checkpoints are recognized by their keys, and every key has a place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from golden_outputs import Golden
from torch import Tensor

from refinenet import create_model
from refinenet.backbones.resnet import RESNET_50, RESNET_101, RESNET_152
from refinenet.checkpoints.recognition import recognize
from runtime.errors import CheckpointError

BLOCKS = {"50": RESNET_50, "101": RESNET_101, "152": RESNET_152}
PUBLISHED = [*(f"{family}-{n}" for family in ("refinenet", "lw") for n in BLOCKS), "lw-mobilenetv2"]
FILE = Path("weights.pth")


def published(golden: Golden, variant: str) -> dict[str, Tensor]:
    """The published keys and shapes, without values; other depths repeat or drop bottlenecks."""
    family, depth = variant.split("-")
    name = {"lw": "rf_lw50", "refinenet": "rf101"}[family] if depth in BLOCKS else "mbv2"
    shapes = golden.shapes(name)
    if depth in BLOCKS:
        first = {k: s for k, s in shapes.items() if not re.match(r"layer\d\.(?!0\.)", k)}
        shapes = first | {
            key.replace(f"layer{layer}.1.", f"layer{layer}.{block}."): shape
            for layer, blocks in enumerate(BLOCKS[depth], start=1)
            for block in range(1, blocks)
            for key, shape in shapes.items()
            if key.startswith(f"layer{layer}.1.")
        }
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize("variant", PUBLISHED)
def test_every_published_key_has_its_own_place(variant: str, golden: Golden) -> None:
    found = recognize(published(golden, variant), FILE)
    assert (found.variant, found.num_classes) == (variant, 21)
    with torch.device("meta"):
        expected = create_model(variant, 21).state_dict()
    assert {key: value.shape for key, value in found.weights.items()} == {
        key: value.shape for key, value in expected.items()
    }


def test_own_keys_stay_as_they_are() -> None:
    with torch.device("meta"):
        weights = create_model("lw-50", 5).state_dict()
    found = recognize(weights, FILE)
    assert (found.variant, found.num_classes) == ("lw-50", 5)
    assert found.weights.keys() == weights.keys()


def test_keys_of_no_known_network_are_refused() -> None:
    weights = {"encoder.weight": torch.empty(1), "decoder.weight": torch.empty(1)}
    with pytest.raises(CheckpointError, match=r"weights\.pth fits no known network.*encoder\.w"):
        recognize(weights, FILE)


@pytest.mark.parametrize("shape", [None, (), (21,), (0, 256, 3, 3), (257, 256, 3, 3)], ids=str)
def test_a_classifier_without_a_class_count_is_refused(
    shape: tuple[int, ...] | None, golden: Golden
) -> None:
    weights = published(golden, "lw-mobilenetv2")
    del weights["segm.weight"]
    if shape is not None:
        weights["segm.weight"] = torch.empty(shape)
    with pytest.raises(CheckpointError, match=r"classifier\.0\.weight.*1 to 256 classes"):
        recognize(weights, FILE)


def test_a_key_of_no_network_keeps_its_name(golden: Golden) -> None:
    weights = published(golden, "lw-mobilenetv2") | {"extra.weight": torch.empty(1)}
    assert "extra.weight" in recognize(weights, FILE).weights
