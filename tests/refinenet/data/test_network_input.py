"""A network is fed what its card says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from refinenet.data.network_input import to_input
from runtime.frames import read_frame
from runtime.normalization import Normalization


@pytest.fixture
def frame(photo: object) -> NDArray[np.uint8]:
    return read_frame(str(photo))


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_levels_are_brought_to_mean_and_std_in_the_order_of_the_network(
    frame: NDArray[np.uint8], order: str
) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.25, 0.2, 1 / 255)
    found = to_input(frame, Normalization(mean, std, order)).numpy()
    red_green_blue = (frame[:, :, ::-1] / 255 - mean) / std
    expected = red_green_blue if order == "RGB" else red_green_blue[:, :, ::-1]
    np.testing.assert_allclose(found.transpose(1, 2, 0), expected, rtol=0, atol=1e-4)
