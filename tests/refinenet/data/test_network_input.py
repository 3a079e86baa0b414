"""A network is fed what its card says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from refinenet.data.network_input import NetworkInput, to_input
from runtime.frames import read_frame
from runtime.normalization import Normalization


@pytest.fixture
def frame(photo: object) -> NDArray[np.uint8]:
    return read_frame(str(photo))


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_a_batch_is_its_frames_bit_for_bit(frame: NDArray[np.uint8], order: str) -> None:
    normalization = Normalization((0.5, 0.4, 0.3), (0.25, 0.2, 0.1), order)
    frames = [frame, np.ascontiguousarray(frame[::-1]), frame // 2]
    batch = NetworkInput(normalization)(torch.from_numpy(np.stack(frames)))
    assert batch.shape == (3, 3, *frame.shape[:2])
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for one, found in zip(frames, batch, strict=True):
        assert torch.equal(to_input(one, normalization), found)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_levels_are_brought_to_mean_and_std_in_the_order_of_the_network(
    frame: NDArray[np.uint8], order: str
) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.2, 1 / 255)
    found = to_input(frame, Normalization(mean, std, order)).numpy()
    red_green_blue = (frame[:, :, ::-1] / 255 - mean) / std
    expected = red_green_blue if order == "RGB" else red_green_blue[:, :, ::-1]
    np.testing.assert_allclose(found.transpose(1, 2, 0), expected, rtol=0, atol=1e-4)
