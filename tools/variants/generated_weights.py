"""Weights for a variant that nobody has trained here.

PyTorch's own initialization from one seed, and batch norm statistics measured on one photo, so
that activations have the size that they have in a trained network; those of a backbone are frozen
and stay as they start. A network without batch norm gets the initialization of He et al. (ICCV
2015) instead, which keeps that size from layer to layer. A MobileNetV2 is that of the shipped
weights: as it starts, it makes activations so small that FP16 and INT8 would be left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from refinenet.backbones.mobilenetv2 import MobileNetV2
from refinenet.checkpoints.load import load_model, published_card, save_checkpoint
from refinenet.data.network_input import to_input
from refinenet.network import SegmentationNetwork
from refinenet.variants import create_model, normalization_of
from runtime.frames import Frame, read_frame

NUM_CLASSES = 21
SHIPPED = "lw-mobilenetv2-camvid"
SEED = 0


def write_generated(variant: str, path: Path, photo: Frame) -> Path:
    """Write a .safetensors of generated weights for a variant, with its card.

    photo: (H, W, 3) uint8 BGR.
    """
    torch.manual_seed(SEED)
    network = create_model(variant, NUM_CLASSES).train()
    normalization = normalization_of(variant)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over what it sees, which is one image
    if not norms:
        _keep_sizes(network)
    for backbone in network.pretrained_backbones:
        if isinstance(backbone, MobileNetV2):
            trained = load_model(SHIPPED).get_submodule("backbone")
            backbone.load_state_dict(trained.state_dict())
    with torch.no_grad():
        network(to_input(photo, normalization)[None])
    card = published_card(variant, NUM_CLASSES, normalization)
    save_checkpoint(path, network.eval(), card)
    return path


def _keep_sizes(network: SegmentationNetwork) -> None:
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and name not in network.classifiers:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


if __name__ == "__main__":
    write_generated(sys.argv[1], Path(sys.argv[2]), read_frame(sys.argv[3]))
