"""Weights for a variant that nobody has trained here.

PyTorch's own initialization from one seed, and batch norm statistics measured on one photo, so
that activations have the size that they have in a trained network.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from refinenet.checkpoints.load import published_card, save_checkpoint
from refinenet.data.network_input import to_input
from refinenet.variants import create_model
from runtime.frames import Frame, read_frame
from runtime.normalization import IMAGENET

NUM_CLASSES = 21
SEED = 0


def write_generated(variant: str, path: Path, photo: Frame) -> Path:
    """Write a .safetensors of generated weights for a variant, with its card.

    photo: (H, W, 3) uint8 BGR.
    """
    torch.manual_seed(SEED)
    network = create_model(variant, NUM_CLASSES)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over what it sees, which is one image
    with torch.no_grad():
        network.train()(to_input(photo, IMAGENET)[None])
    save_checkpoint(path, network.eval(), published_card(variant, NUM_CLASSES))
    return path


if __name__ == "__main__":
    write_generated(sys.argv[1], Path(sys.argv[2]), read_frame(sys.argv[3]))
