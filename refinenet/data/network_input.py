"""From frames to what the network is fed."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from runtime.frames import Frame
from runtime.normalization import Normalization


class NetworkInput:
    """Normalizes batches of frames on a device; its constants lie there, so that no call waits."""

    def __init__(self, normalization: Normalization, device: str | torch.device = "cpu") -> None:
        self._mean = torch.tensor(normalization.mean, device=device)
        self._std = torch.tensor(normalization.std, device=device)
        self._is_bgr = normalization.channel_order == "BGR"

    def __call__(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 BGR, on the device, to (N, 3, H, W) float32, channels last in memory:
        (x / 255 - mean) / std, in the network's order."""
        normalized = (frames.flip(3).float() / 255 - self._mean) / self._std
        if self._is_bgr:
            normalized = normalized.flip(3)
        return normalized.permute(0, 3, 1, 2)


def to_input(
    frame: Frame, normalization: Normalization, device: str | torch.device = "cpu"
) -> Tensor:
    """(H, W, 3) uint8 BGR to (3, H, W) float32 on the device. See NetworkInput.

    The bytes are copied to the device and normalized there, a quarter of what floats would be.
    """
    levels = torch.from_numpy(np.ascontiguousarray(frame)).to(device)
    return NetworkInput(normalization, device)(levels[None])[0]
