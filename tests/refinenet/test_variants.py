"""The paper's variants are built as its figures show, and their poolings have names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refinenet import create_model
from refinenet.backbones.resnet import ResNet
from refinenet.backbones.two_scale import TwoScale
from refinenet.checkpoints.load import load_checkpoint, load_imagenet_backbone, save_checkpoint
from refinenet.networks.blocks import PUBLISHED_POOLING, ChainedResidualPooling, Pooling
from refinenet.networks.refinenet import BlockPlan, CascadePlan, TwoScaleRefineNet
from refinenet.variants import VARIANTS, join_variant, split_variant
from runtime.card import Card
from runtime.errors import CheckpointError, InputError

Shape = tuple[int, ...]
RESNET_101_PARAMETERS = 42_500_160

# Of every block, coarsest first: the channels of its paths, and its own.
FIGURES = {
    "refinenet-101": (([512], 512), ([256, 512], 256), ([256, 256], 256), ([256, 256], 256)),
    "refinenet-101-single": (([256, 256, 256, 512], 256),),
    "refinenet-101-2-cascaded": (([256, 512], 256), ([256, 256, 256], 256)),
    "refinenet-101-2-scale": (
        *(([512, 512], 512), ([256, 256, 512], 256)),
        *(([256, 256, 256], 256), ([256, 256, 256], 256)),
    ),
}


def parameters_by_hand(variant: str, num_classes: int) -> int:
    def conv(given: int, wanted: int) -> int:
        return 9 * given * wanted

    def unit(channels: int) -> int:
        return 2 * conv(channels, channels) + channels

    backbones = 2 if variant.endswith("2-scale") else 1
    reductions = conv(2048, 512) + conv(1024, 256) + conv(512, 256) + conv(256, 256)
    total = backbones * (RESNET_101_PARAMETERS + reductions)
    for paths, channels in FIGURES[variant]:
        total += sum(2 * unit(path) for path in paths)
        total += sum(conv(path, channels) for path in paths if len(paths) > 1)
        total += 4 * conv(channels, channels) + unit(channels)
    return total + 2 * unit(256) + conv(256, num_classes) + num_classes


@pytest.mark.parametrize("variant", FIGURES)
def test_parameters_are_those_of_the_figure(variant: str) -> None:
    with torch.device("meta"):
        network = create_model(variant, 21)
    assert sum(p.numel() for p in network.parameters()) == parameters_by_hand(variant, 21)


def test_the_arithmetic_gives_the_published_count() -> None:
    assert parameters_by_hand("refinenet-101", 21) == 118_052_437


def paths_of(variant: str, height: int, width: int) -> list[list[Shape]]:
    """The (channels, height, width) of all paths into every block, coarsest block first."""
    seen: list[list[Shape]] = []

    def note(_: nn.Module, paths: tuple[Tensor, ...]) -> None:
        seen.append([tuple(path.shape[1:]) for path in paths])

    with torch.device("meta"):
        network = create_model(variant, 2)
        for block in network.get_submodule("blocks").children():
            block.register_forward_pre_hook(note)
        network(torch.empty(1, 3, height, width))
    return seen


def test_the_single_block_takes_all_four_levels() -> None:
    assert paths_of("refinenet-101-single", 160, 320) == [
        [(256, 40, 80), (256, 20, 40), (256, 10, 20), (512, 5, 10)]
    ]


def test_of_two_blocks_one_takes_the_coarse_levels_and_one_the_fine_ones() -> None:
    assert paths_of("refinenet-101-2-cascaded", 160, 320) == [
        [(256, 10, 20), (512, 5, 10)],
        [(256, 40, 80), (256, 20, 40), (256, 10, 20)],
    ]


def test_of_two_scales_a_block_takes_the_same_level_of_both() -> None:
    # 192x384 and 96x192: 1.2 and 0.6 of the image.
    assert paths_of("refinenet-101-2-scale", 160, 320) == [
        [(512, 6, 12), (512, 3, 6)],
        [(256, 12, 24), (256, 6, 12), (512, 6, 12)],
        [(256, 24, 48), (256, 12, 24), (256, 12, 24)],
        [(256, 48, 96), (256, 24, 48), (256, 24, 48)],
    ]


@pytest.fixture(scope="module")
def two_scale() -> TwoScale:
    torch.manual_seed(0)
    return TwoScale(ResNet((1, 1, 1, 1)), ResNet((1, 1, 1, 1))).eval()


def test_two_scales_are_two_backbones_on_two_sizes(two_scale: TwoScale) -> None:
    image = torch.rand(1, 3, 50, 70, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = two_scale(image)
        large = two_scale.large(F.interpolate(image, (60, 84), mode="bilinear"))
        small = two_scale.small(F.interpolate(image, (30, 42), mode="bilinear"))
    for level in range(4):
        assert torch.equal(features[2 * level], large[level])
        assert torch.equal(features[2 * level + 1], small[level])
    assert not torch.equal(two_scale.large.conv1.weight, two_scale.small.conv1.weight)


def imagenet_resnet(path: Path) -> dict[str, Tensor]:
    """A file as torchvision's, of the smallest ResNet, with its fc."""
    weights = ResNet((1, 1, 1, 1)).state_dict()
    fc = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    torch.save(weights | fc, path)
    return weights


def test_imagenet_weights_start_both_backbones(two_scale: TwoScale, tmp_path: Path) -> None:
    weights = imagenet_resnet(tmp_path / "resnet.pth")
    thin = CascadePlan(blocks=(BlockPlan((1,) * 8, 1),), reductions=(1,) * 8, light=True)
    network = TwoScaleRefineNet(two_scale, thin, 2, PUBLISHED_POOLING)
    load_imagenet_backbone(network, tmp_path / "resnet.pth")
    for backbone in (two_scale.large, two_scale.small):
        found = backbone.state_dict()
        assert all(torch.equal(found[key], value) for key, value in weights.items())


def test_imagenet_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    imagenet_resnet(tmp_path / "resnet.pth")
    with (
        torch.device("meta"),
        pytest.raises(CheckpointError, match=r"does not fit.*missing, such as layer1\.1\."),
    ):
        load_imagenet_backbone(create_model("lw-50", 2), tmp_path / "resnet.pth")


@pytest.mark.parametrize("links", [1, 2, 5])
def test_a_pooling_is_the_chain_of_its_name(links: int) -> None:
    x = torch.randn(2, 8, 9, 7, generator=torch.Generator().manual_seed(0))
    chains = {
        order: ChainedResidualPooling(8, 3, Pooling(order, links), nn.ReLU())
        for order in ("pool-conv", "conv-pool")
    }
    chains["conv-pool"].load_state_dict(chains["pool-conv"].state_dict())  # the same keys

    def pool(link: Tensor) -> Tensor:
        return F.max_pool2d(link, 5, stride=1, padding=2)

    with torch.inference_mode():
        expected = {"pool-conv": x.relu(), "conv-pool": x.relu()}
        link = dict(expected)
        for conv in chains["pool-conv"].convs:
            link = {
                "pool-conv": conv(pool(link["pool-conv"])),
                "conv-pool": pool(conv(link["conv-pool"])),
            }
            expected = {order: total + link[order] for order, total in expected.items()}
        assert len(chains["pool-conv"].convs) == links
        for order, chain in chains.items():
            torch.testing.assert_close(chain(x), expected[order])
        assert not torch.allclose(expected["pool-conv"], expected["conv-pool"])


@pytest.mark.parametrize(
    ("name", "pooling"),
    [
        ("lw-50", Pooling()),
        ("lw-50+conv-pool", Pooling("conv-pool")),
        ("refinenet-101-2-scale+conv-pool-2", Pooling("conv-pool", 2)),
        ("lw-mobilenetv2+pool-conv-12", Pooling("pool-conv", 12)),
    ],
)
def test_every_pooling_has_a_name(name: str, pooling: Pooling) -> None:
    row, found = split_variant(name)
    assert row in VARIANTS
    assert found == pooling
    assert join_variant(row, pooling) == name
    with torch.device("meta"):
        chains = [
            m for m in create_model(name, 2).modules() if isinstance(m, ChainedResidualPooling)
        ]
    assert {(chain.order, len(chain.convs)) for chain in chains} == {(found.order, found.links)}


@pytest.mark.parametrize("suffix", ["+", "+conv", "+conv-pool-0", "+conv-pool-", "+conv-pool-100"])
def test_an_unknown_pooling_is_refused_with_an_example(suffix: str) -> None:
    with pytest.raises(InputError, match=r"unknown pooling.*lw-50\+conv-pool-2"):
        create_model(f"lw-50{suffix}", 2)


def test_a_pooling_of_no_known_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown variant 'lw-51\+conv-pool'"):
        create_model("lw-51+conv-pool", 2)


@pytest.mark.parametrize("variant", ["fcn-8s", "unet", "deeplab-v2-101", "fcn-mobilenetv2"])
def test_a_pooling_of_a_network_without_one_is_refused(variant: str) -> None:
    with pytest.raises(InputError, match=f"give --variant {variant} alone"):
        create_model(f"{variant}+conv-pool", 2)


def test_the_card_brings_the_pooling_back(mobile_card: Card, tmp_path: Path) -> None:
    path, image = tmp_path / "weights.safetensors", torch.rand(1, 3, 64, 96)
    card = replace(mobile_card, variant="lw-mobilenetv2+conv-pool-2")
    model = create_model(card.variant, len(card.classes)).eval()
    save_checkpoint(path, model, card)
    found, _ = load_checkpoint(path)
    with torch.inference_mode():
        assert torch.equal(found(image), model(image))
    # The other order has the same keys: only the card can tell.
    save_checkpoint(path, model, replace(card, variant="lw-mobilenetv2+pool-conv-2"))
    with torch.inference_mode():
        assert not torch.allclose(load_checkpoint(path)[0](image), model(image))
