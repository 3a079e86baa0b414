"""The network of a state_dict is told by its keys, ours or published, even if some are missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from golden_outputs import VARIANTS as GOLDEN
from golden_outputs import Golden
from torch import Tensor

from refinenet import create_model
from refinenet.checkpoints.recognition import nearest_variant, recognize
from refinenet.variants import VARIANTS, normalization_of
from runtime.errors import CheckpointError

FILE = Path("weights.pth")


def published(golden: Golden, name: str) -> dict[str, Tensor]:
    return {key: torch.empty(s, device="meta") for key, s in golden.shapes(name).items()}


def ours(variant: str, num_classes: int) -> dict[str, Tensor]:
    with torch.device("meta"):
        return create_model(variant, num_classes).state_dict()


# Of each, the keys of another network too.
SHARED_KEYS = {
    "fcn-8s": "fcn-8s-at-once",
    "deeplab-v2-101": "deeplab-v2-101-msc",
    "deeplab-mobilenetv2-os32": "deeplab-mobilenetv2-os16",
}
TWINS = {*SHARED_KEYS, *SHARED_KEYS.values(), "deeplab-mobilenetv2-os8"}
ALONE = [variant for variant in VARIANTS if variant not in TWINS]


@pytest.mark.parametrize("variant", [*ALONE, "lw-50+pool-conv-2", "lw-mobilenetv2+pool-conv-11"])
def test_our_own_keys_tell_the_variant(variant: str) -> None:
    weights = ours(variant, 7)
    found = recognize(weights, FILE)
    assert (found.variant, found.num_classes) == (variant, 7)
    assert found.weights.keys() == weights.keys()
    assert found.normalization == normalization_of(variant)


@pytest.mark.parametrize(("variant", "twin"), SHARED_KEYS.items())
def test_keys_of_several_networks_are_refused_until_the_variant_is_named(
    variant: str, twin: str
) -> None:
    weights = ours(variant, 7)
    with pytest.raises(
        CheckpointError, match=rf"{variant} and of {twin}.*refinenet convert.*--variant {variant}"
    ):
        recognize(weights, FILE)
    for name in (variant, twin):
        assert recognize(weights, FILE, name).variant == name


def test_a_named_variant_is_taken_even_if_another_fits() -> None:
    found = recognize(ours("unet", 7), FILE, "unet-bilinear")
    assert found.variant == "unet-bilinear"  # what does not fit, load.fill says


@pytest.mark.parametrize("links", [1])
@pytest.mark.parametrize("name", GOLDEN)
def test_the_links_of_a_published_pooling_are_counted(
    name: str, links: int, golden: Golden
) -> None:
    weights = published(golden, name)
    for key in list(weights):
        if any(f".{link}_outvar" in key for link in range(links + 1, 5)):
            del weights[key]
    assert recognize(weights, FILE).variant == f"{GOLDEN[name]}+pool-conv-{links}"


@pytest.mark.parametrize("name", GOLDEN)
def test_a_fifth_of_the_keys_may_be_missing(name: str, golden: Golden) -> None:
    weights = published(golden, name)
    classifiers = ("segm", "clf_conv")
    for key in [key for key in weights if not key.startswith(classifiers)][::5]:
        del weights[key]
    assert recognize(weights, FILE).variant == GOLDEN[name]


def test_nothing_is_nearest_to_nothing() -> None:
    assert nearest_variant(dict.fromkeys(["encoder.weight"])) is None
    keys = ["backbone.stem.0.weight", "blocks.3.fuse.convs.1.weight"]
    assert nearest_variant(dict.fromkeys(keys)) == "lw-mobilenetv2"


@pytest.mark.parametrize("head", ["fc.weight", "classifier.1.weight", "conv1.weight"])
def test_an_imagenet_classifier_is_told_what_it_is_good_for(head: str, golden: Golden) -> None:
    weights = published(golden, "rf_lw50")
    backbone = {key: value for key, value in weights.items() if key.startswith("layer")}
    with pytest.raises(CheckpointError, match=r"ImageNet classifier.*--backbone-weights weights"):
        recognize(backbone | {head: torch.empty(1000, 2048)}, FILE)
    with pytest.raises(CheckpointError, match=r"nearest, lw-50, classifier\.0\.weight is missing"):
        recognize(backbone | {"head.weight": torch.empty(1000, 2048)}, FILE)
