"""What a frame goes through before and after the network is what training did to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from export.frame_model import FrameModel
from refinenet.data.network_input import to_input
from runtime.card import Card
from runtime.normalization import IMAGENET

Frame = NDArray[np.uint8]


class Quarter(nn.Module):
    """A network's face without a network: scores of 1/4 the size."""

    def forward(self, image: Tensor) -> Tensor:
        return F.avg_pool2d(image, 4, ceil_mode=True)


def network_input(frame: Frame, card: Card) -> Tensor:
    """(3, H, W): what the network inside a FrameModel is given."""
    return FrameModel(nn.Identity(), card, "logits")(torch.from_numpy(frame[None]))[0]


def test_the_network_is_given_what_it_was_trained_on(photo_frame: Frame, card: Card) -> None:
    given, trained_on = network_input(photo_frame, card), to_input(photo_frame, IMAGENET)
    torch.testing.assert_close(given, trained_on, rtol=0, atol=1e-5)


def test_a_network_that_takes_bgr_is_given_bgr(photo_frame: Frame, card: Card) -> None:
    other = replace(card, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.1), channel_order="BGR")
    given, trained_on = (
        network_input(photo_frame, other),
        to_input(photo_frame, other.normalization),
    )
    torch.testing.assert_close(given, trained_on, rtol=0, atol=1e-5)
    assert float((trained_on[0] - trained_on[2]).abs().mean()) > 0.1


def test_swapped_channels_would_be_noticed(photo_frame: Frame, card: Card) -> None:
    swapped = np.ascontiguousarray(photo_frame[:, :, ::-1])
    difference = network_input(swapped, card) - to_input(photo_frame, IMAGENET)
    assert float(difference.abs().mean()) > 0.1


def test_the_mask_has_the_size_of_the_frame(photo_frame: Frame, card: Card) -> None:
    frames = torch.from_numpy(np.stack([photo_frame, photo_frame[::-1]]))
    masks = FrameModel(Quarter(), card)(frames)
    assert masks.shape == frames.shape[:3]
    assert masks.dtype == torch.uint8


def test_the_mask_is_where_the_scores_are_largest(photo_frame: Frame, card: Card) -> None:
    frames = torch.from_numpy(photo_frame[None])
    scores = FrameModel(Quarter(), card, "logits")(frames)
    assert scores.shape == (1, 3, *photo_frame.shape[:2])
    assert scores.dtype == torch.float32
    assert torch.equal(scores.argmax(1), FrameModel(Quarter(), card)(frames).long())


@pytest.mark.parametrize("kind", ["mask", "logits"])
def test_the_network_itself_is_left_alone(kind: str, network: nn.Module, card: Card) -> None:
    names = {f"network.{name}" for name in network.state_dict()}
    own = FrameModel(network, card, kind).state_dict().keys() - names
    assert own == {"mean", "scale", "from_bgr"}
