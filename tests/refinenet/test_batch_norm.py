"""Folding batch norm changes no score, whatever stands in the network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from refinenet import create_model
from refinenet.batch_norm import convolutions_before_norms, fold_batch_norms
from refinenet.variants import VARIANTS


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_batch_norm_follows_a_convolution_of_its_width(variant: str) -> None:
    with torch.device("meta"):
        network = create_model(variant, 2)
    found = convolutions_before_norms(network)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert set(found.values()) == set(norms)
    assert all(conv.out_channels == norm.num_features for conv, norm in found.items())


@pytest.mark.parametrize("variant", ["lw-mobilenetv2", "unet-mobilenetv2", "fcn-50"])
def test_the_scores_stay_the_same(variant: str) -> None:
    torch.manual_seed(0)
    network = create_model(variant, 2)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.running_var, module.bias.data):
                assert values is not None
                values.uniform_(0.5, 1.5)
    network.eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = network(image)
    fold_batch_norms(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    with torch.inference_mode():
        found = network(image)
    assert (found - expected).abs().max() <= 1e-4 * expected.std()
