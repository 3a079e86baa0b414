"""FCN: its crops, its bilinear start, its ImageNet weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from refinenet import create_model
from refinenet.backbones.vgg16 import GROUPS, VGG16
from refinenet.checkpoints.load import load_imagenet_backbone
from refinenet.networks.fcn import FCN, FCN_8S, FCN_16S, FCN_32S, FCNPlan, bilinear_kernel
from runtime.errors import CheckpointError


@pytest.mark.parametrize("variant", ["fcn-32s", "fcn-16s", "fcn-8s", "fcn-8s-at-once"])
@pytest.mark.parametrize("size", [(1, 1), (97, 130), (64, 96)])
def test_scores_are_at_every_pixel(variant: str, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        network = create_model(variant, 3)
        assert network(torch.empty(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("stride", [2, 8])
def test_the_upsampling_starts_as_bilinear_interpolation(stride: int) -> None:
    x = torch.randn(1, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    found = F.conv_transpose2d(x, bilinear_kernel(3, stride), stride=stride)
    expected = F.interpolate(x, scale_factor=stride, mode="bilinear")
    # Beyond the outermost centres interpolate repeats the border, and the convolution fades out.
    half = stride // 2
    inside = (slice(None), slice(None), slice(half, -half), slice(half, -half))
    shifted = found[:, :, half : half + 6 * stride, half : half + 5 * stride]
    torch.testing.assert_close(shifted[inside], expected[inside])


class Ramp(nn.Module):
    """Stands for VGG16: features whose value is the row of the image at their centre."""

    feature_channels = (1, 1, 1)
    pretrained = ()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        padded = [side + 198 for side in image.shape[-2:]]
        sides = {stride: [-(-side // stride) for side in padded] for stride in (8, 16, 32)}
        sides[32] = [side - 6 for side in sides[32]]
        rows = {
            # The centre of cell i, counted from the image: the border of 99 rows goes before it.
            stride: stride * (torch.arange(sides[stride][0]) + 0.5)
            - 99
            + (96 if stride == 32 else 0)
            for stride in (8, 16, 32)
        }
        return tuple(
            rows[stride][None, None, :, None].expand(1, 1, -1, sides[stride][1]) for stride in rows
        )


@pytest.mark.parametrize("plan", [FCN_32S, FCN_16S, FCN_8S])
def test_the_crops_put_the_scores_where_the_image_shows_them(plan: FCNPlan) -> None:
    network = FCN(Ramp(), plan, 1)  # type: ignore[arg-type]  # a backbone in all that counts here
    with torch.no_grad():
        for score in network.scores:
            score.weight.fill_(1 / len(network.scores))
            score.bias.zero_()
        scores = network(torch.zeros(1, 3, 64, 64))[0, 0, :, 32]
    rows = torch.arange(64) + 0.5
    # Half a cell of rounding is left where a finer cell is not in the middle of a coarser one.
    assert (scores - rows).abs().max() <= plan.stride / 2


def torchvision_vgg16() -> dict[str, torch.Tensor]:
    """The keys and shapes of torchvision's classifier, without values."""
    weights, channels, position = {}, 3, 0
    with torch.device("meta"):
        for group in GROUPS:
            for width in group:
                weights[f"features.{position}.weight"] = torch.empty(width, channels, 3, 3)
                weights[f"features.{position}.bias"] = torch.empty(width)
                channels, position = width, position + 2
            position += 1
        for position, (given, wanted) in {
            0: (25088, 4096),
            3: (4096, 4096),
            6: (4096, 1000),
        }.items():
            weights[f"classifier.{position}.weight"] = torch.empty(wanted, given)
            weights[f"classifier.{position}.bias"] = torch.empty(wanted)
    return weights


def test_torchvision_s_vgg16_fills_the_backbone() -> None:
    with torch.device("meta"):
        backbone = VGG16()
    found = backbone.imagenet_weights(torchvision_vgg16())
    assert {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in backbone.state_dict().items()
    }


def test_a_fully_connected_layer_becomes_the_convolution_that_it_is() -> None:
    matrix = torch.randn(4, 512 * 49, generator=torch.Generator().manual_seed(0))
    with torch.device("meta"):
        backbone = VGG16()
    kernel = backbone.imagenet_weights({"classifier.0.weight": matrix})["fc6.weight"]
    x = torch.randn(1, 512, 7, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        F.conv2d(x, kernel).flatten(), matrix @ x.flatten(), rtol=1e-4, atol=1e-2
    )


def test_other_imagenet_weights_are_refused(imagenet: Path) -> None:
    with torch.device("meta"):
        network = create_model("fcn-8s", 2)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_imagenet_backbone(network, imagenet)
