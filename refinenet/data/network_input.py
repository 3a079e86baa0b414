"""From a frame to what the network is fed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from runtime.frames import Frame
from runtime.normalization import Normalization


def to_input(frame: Frame, normalization: Normalization) -> Tensor:
    """(H, W, 3) uint8 BGR to (3, H, W) float32, (x / 255 - mean) / std, in the network's order."""
    rgb = torch.from_numpy(np.ascontiguousarray(frame[:, :, ::-1])).permute(2, 0, 1)
    mean, std = torch.tensor(normalization.mean), torch.tensor(normalization.std)
    normalized = (rgb.float() / 255 - mean[:, None, None]) / std[:, None, None]
    return normalized.flip(0) if normalization.channel_order == "BGR" else normalized
