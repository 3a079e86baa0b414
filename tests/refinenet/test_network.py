"""Every variant keeps the contract that training, export and INT8 ask of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from refinenet import create_model
from refinenet.backbones.backbone import Backbone
from refinenet.checkpoints.load import load_imagenet_backbone
from refinenet.network import SegmentationNetwork
from refinenet.training.recipes.recipe import PRESETS
from refinenet.variants import VARIANTS, score_size
from runtime.errors import InputError

SIZE = (97, 130)
WITHOUT_BACKBONE = ("unet", "unet-bilinear")


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def network(variant: str) -> SegmentationNetwork:
    with torch.device("meta"):
        return create_model(variant, 7)


def test_the_output_stride_is_that_of_the_scores(
    variant: str, network: SegmentationNetwork
) -> None:
    for side, found in zip(SIZE, score_size(variant, SIZE), strict=True):
        assert abs(found - side / network.output_stride) <= 1


def test_the_classifiers_give_the_classes(network: SegmentationNetwork) -> None:
    assert network.classifiers
    for name in network.classifiers:
        classifier = network.get_submodule(name)
        assert isinstance(classifier, nn.Conv2d | nn.ConvTranspose2d)
        assert classifier.out_channels == 7


def test_nothing_but_the_classifiers_knows_the_number_of_classes(
    variant: str, network: SegmentationNetwork
) -> None:
    with torch.device("meta"):
        other = create_model(variant, 5).state_dict()
    differing = {k for k, value in network.state_dict().items() if value.shape != other[k].shape}
    of_classifiers = {key for key in other if key.rpartition(".")[0] in network.classifiers}
    assert differing == of_classifiers


def test_the_backbones_are_parts_of_the_network_that_do_not_overlap(
    variant: str, network: SegmentationNetwork
) -> None:
    parts = [p for part in network.pretrained_backbones for p in part.parameters()]
    assert bool(parts) == (variant not in WITHOUT_BACKBONE)
    assert len({id(p) for p in parts}) == len(parts)
    assert {id(p) for p in parts} < {id(p) for p in network.parameters()}


def test_the_recipe_of_its_paper_is_a_preset(variant: str) -> None:
    assert VARIANTS[variant].recipe in PRESETS


class WithoutBackbone(SegmentationNetwork):
    @property
    def pretrained_backbones(self) -> tuple[Backbone, ...]:
        return ()

    def forward(self, image: Tensor) -> Tensor:
        return image


def test_imagenet_weights_that_nothing_takes_are_refused(imagenet: Path) -> None:
    with pytest.raises(InputError, match="--backbone-weights"):
        load_imagenet_backbone(WithoutBackbone(), imagenet)
