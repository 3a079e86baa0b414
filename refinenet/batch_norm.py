"""Batch norm that no longer learns, folded into the convolutions before it."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn


def convolutions_before_norms(network: nn.Module) -> dict[nn.Conv2d, nn.BatchNorm2d]:
    """The convolutions that a batch norm follows.

    In the networks of this project, a batch norm stands right behind its convolution.
    """
    leaves = [module for module in network.modules() if not list(module.children())]
    return {
        conv: norm
        for conv, norm in pairwise(leaves)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    }


def fold_batch_norms(network: nn.Module) -> None:
    """Let the convolutions of a network do what its batch norms do, in place.

    The scores stay the same but for rounding, in evaluation mode alone.
    """
    for conv, norm in convolutions_before_norms(network).items():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        with torch.no_grad():
            # As torch.onnx's own folding computes it, which thus gives the same file.
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            bias = torch.zeros_like(norm.bias) if conv.bias is None else conv.bias
            conv.bias = nn.Parameter((bias - norm.running_mean) * factor + norm.bias)
            conv.weight.copy_(conv.weight * factor[:, None, None, None])
    names = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for name in names:
        network.set_submodule(name, nn.Identity())
