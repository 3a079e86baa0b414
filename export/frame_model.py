"""A network from frame to mask: uint8 in, uint8 out, everything between them in one graph."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from runtime.card import Card

INPUT, MASK, LOGITS = "frames", "masks", "logits"  # of the exported graph
# In a card's details: the network gives class ids, so that there are no scores; the order in which
# it takes the channels, where that is not RGB; above which value one channel is foreground.
CLASS_MAP_KEY, NETWORK_ORDER, THRESHOLD = "class_map", "network_channel_order", "threshold"


def network_card(card: Card) -> Card:
    """The card of the network alone, from its own or from that of a file exported from it, whose
    channel order is that of the frames."""
    if card.output_kind is None or "torch" not in card.tools:
        return card
    order = str(card.details.get(NETWORK_ORDER, "RGB"))
    details = {key: value for key, value in card.details.items() if key == THRESHOLD}
    return replace(
        card,
        channel_order=order,
        input_shape=None,
        size_multiple=1,
        output_kind=None,
        details=details,
    )


class FrameModel(nn.Module):
    """Channel order, normalization, the network, upsampling and argmax around any network.

    network: (N, 3, H, W) float, normalized, to class scores (N, C, H', W') of any size, or to class
    ids (N, H', W').
    card: of the network: mean, std and channel order of what it is fed.
    output_kind: mask, or logits for parity work.

    forward takes (N, H, W, 3) uint8 frames in OpenCV's BGR order and returns masks (N, H, W)
    uint8, or the scores at the frames' size, (N, C, H, W) float.
    """

    mean: Tensor
    scale: Tensor
    from_bgr: Tensor

    def __init__(self, network: nn.Module, card: Card, output_kind: str = "mask") -> None:
        super().__init__()
        self.network = network
        self.output_kind = output_kind
        order = [0, 1, 2] if card.channel_order == "RGB" else [2, 1, 0]
        mean, std = torch.tensor(card.mean)[order], torch.tensor(card.std)[order]
        # (x / 255 - mean) / std as one subtraction and one product, per channel.
        self.register_buffer("mean", (255 * mean).reshape(1, 3, 1, 1))
        self.register_buffer("scale", (1 / (255 * std)).reshape(1, 3, 1, 1))
        self.register_buffer("from_bgr", torch.tensor([2, 1, 0])[order])

    def forward(self, frames: Tensor) -> Tensor:
        scores = self.scores(frames)
        if self.output_kind == "logits":
            return scores
        if scores.dim() == 3:  # class ids already
            return scores.to(torch.uint8)
        # By way of float: TensorRT has no cast from ArgMax's int64 to uint8.
        return scores.argmax(1).to(scores.dtype).to(torch.uint8)

    def scores(self, frames: Tensor) -> Tensor:
        """Of frames (N, H, W, 3) uint8: the scores at their size, (N, C, H, W) float, or the class
        ids, (N, H, W) float, of a network that gives ids."""
        # Cast first: TensorRT allows no other operation on uint8.
        bgr = frames.to(self.mean.dtype).permute(0, 3, 1, 2)  # (N, 3, H, W)
        channels = bgr.index_select(1, self.from_bgr)
        scores: Tensor = self.network((channels - self.mean) * self.scale)
        if scores.dim() == 3:
            # TensorRT resizes no integers. Ids up to 255 are exact in any float.
            ids = scores.to(self.mean.dtype)[:, None]
            return F.interpolate(ids, frames.shape[1:3], mode="nearest-exact")[:, 0]
        return F.interpolate(scores, frames.shape[1:3], mode="bilinear")
