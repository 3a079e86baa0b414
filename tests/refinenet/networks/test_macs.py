"""Multiply-accumulate operations are the published ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from refinenet import create_model

# reference/refinenet.md: 10^9 at 512x512 with 21 classes, convolutions alone, without the
# upsampling of the scores to the image.
GMACS = {
    "refinenet-50": 243.5,
    "refinenet-101": 262.9,
    "refinenet-152": 282.3,
    "lw-50": 32.0,
    "lw-101": 51.4,
    "lw-152": 70.8,
    "lw-mobilenetv2": 8.6,
}


def macs(network: nn.Module, size: tuple[int, int] = (512, 512)) -> int:
    """PyTorch counts a multiplication and an addition as two operations."""
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, *size, device="meta"))
    return counter.get_total_flops() // 2


def gmacs(variant: str) -> float:
    with torch.device("meta"):
        return round(macs(create_model(variant, 21)) / 1e9, 1)


@pytest.mark.parametrize("variant", GMACS)
def test_macs_are_the_published_ones(variant: str) -> None:
    assert gmacs(variant) == GMACS[variant]


def test_the_count_is_that_of_the_definition() -> None:
    convolution = nn.Conv2d(3, 5, 3, padding=1, device="meta")
    assert macs(convolution, (8, 6)) == 8 * 6 * 5 * 3 * 3 * 3


def test_a_shorter_pooling_is_counted() -> None:
    assert gmacs("lw-mobilenetv2+pool-conv-3") < GMACS["lw-mobilenetv2"]


def test_the_paper_s_variants_cost_in_the_order_of_their_accuracy() -> None:
    single, cascaded = gmacs("refinenet-101-single"), gmacs("refinenet-101-2-cascaded")
    assert single < cascaded < GMACS["refinenet-101"]
