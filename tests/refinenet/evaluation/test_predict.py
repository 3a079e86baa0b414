"""Scales, mirror images and tiles, on networks small enough to know what must come out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from refinenet.checkpoints.load import save_checkpoint
from refinenet.evaluation.passes import Passes, Tiles
from refinenet.evaluation.predict import TorchSegmenter, check_device, class_scores, predict
from refinenet.variants import create_model
from runtime.card import Card
from runtime.errors import DeviceError, InputError
from runtime.frames import read_frame
from runtime.normalization import IMAGENET

CLASSES = 5


class Recorder(nn.Module):
    """Remembers the (height, width) of every image that the network sees."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.sizes = network, []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape[2:]))
        return self.network(image)


class ByWidth(nn.Module):
    """Two classes; the first has the given logit over an image of that width, the second zero."""

    def __init__(self, logits: dict[int, float]) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> Tensor:
        first = torch.full_like(image[:, :1], self.logits[image.shape[3]])
        return torch.cat([first, torch.zeros_like(first)], 1)


def convolution(kernel_size: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(3, CLASSES, kernel_size, padding=kernel_size // 2).eval()


@pytest.fixture(scope="module")
def frame(shared: Path) -> NDArray[np.uint8]:
    """A real street, cut to a size that no tile divides: (75, 101, 3)."""
    return read_frame(shared / "data/samples/street_kitti_000099.jpg")[150:225, 300:401]


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.randn(1, 3, 50, 77, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("overlap", [0, 1, 16, 31])
def test_tiles_change_nothing_for_a_network_that_looks_at_single_pixels(
    overlap: int, frame: NDArray[np.uint8], image: Tensor
) -> None:
    network, tiled = convolution(1), Passes(tiles=Tiles((32, 48), overlap))
    np.testing.assert_array_equal(
        predict(network, frame, IMAGENET, tiled), predict(network, frame, IMAGENET)
    )
    with torch.inference_mode():
        whole = class_scores(network, image)
        pieces = class_scores(network, image, tiled)
    torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=1e-6)


def test_tiles_show_at_their_edges_and_an_overlap_hides_it(image: Tensor) -> None:
    network = convolution(9)
    with torch.inference_mode():
        whole = class_scores(network, image)
        errors = [
            float((class_scores(network, image, Passes(tiles=Tiles((32, 32), n))) - whole).std())
            for n in (0, 8, 16)
        ]
    assert errors[0] > 1.5 * errors[1] > 1.5 * errors[2] > 0


def test_the_network_never_sees_more_than_a_tile(frame: NDArray[np.uint8]) -> None:
    network = Recorder(convolution(3))
    predict(network, frame, IMAGENET, Passes((1, 2), flip=True, tiles=Tiles((32, 64), 16)))
    assert set(network.sizes) == {(32, 64)}
    predict(network, frame, IMAGENET, Passes(tiles=Tiles((512, 512))))
    assert network.sizes[-1] == frame.shape[:2]


def test_the_network_sees_every_scale_and_its_mirror_image(frame: NDArray[np.uint8]) -> None:
    network = Recorder(convolution(1))
    predict(network, frame, IMAGENET, Passes((0.5, 1), flip=True, shorter_edge=(150, 300)))
    assert network.sizes == [(75, 101)] * 2 + [(150, 202)] * 2


def test_flip_makes_the_mask_of_a_symmetric_frame_symmetric(frame: NDArray[np.uint8]) -> None:
    symmetric = np.concatenate([frame, frame[:, ::-1]], 1)
    network = convolution(3)
    alone = predict(network, symmetric, IMAGENET)
    both = predict(network, symmetric, IMAGENET, Passes(flip=True))
    assert (alone != alone[:, ::-1]).any(), "the network is symmetric, so this test shows nothing"
    np.testing.assert_array_equal(both, both[:, ::-1])


def test_a_mirrored_frame_gives_the_mirrored_mask(frame: NDArray[np.uint8]) -> None:
    network, passes = convolution(3), Passes(flip=True)
    mirrored = predict(network, np.ascontiguousarray(frame[:, ::-1]), IMAGENET, passes)
    np.testing.assert_array_equal(mirrored[:, ::-1], predict(network, frame, IMAGENET, passes))


def test_one_pass_gives_logits() -> None:
    scores = class_scores(ByWidth({8: 7.5}), torch.zeros(1, 3, 8, 8))
    assert scores[0, :, 0, 0].tolist() == [7.5, 0]


def test_probabilities_are_averaged_and_not_logits() -> None:
    network = ByWidth({4: -2, 8: 9, 16: -2})  # in the mean, 5/3 for the first class
    passes = Passes((0.5, 1, 2))
    scores = class_scores(network, torch.zeros(1, 3, 8, 8), passes)
    first = (2 / (1 + np.exp(2)) + 1 / (1 + np.exp(-9))) / 3
    expected = torch.tensor([first, 1 - first])[:, None, None].expand(2, 8, 8)
    torch.testing.assert_close(scores[0].double(), expected, rtol=1e-6, atol=0)
    assert predict(network, np.zeros((8, 8, 3), np.uint8), IMAGENET, passes).all()


def test_scores_are_as_large_as_the_frame_whatever_the_network_gives(
    frame: NDArray[np.uint8],
) -> None:
    coarse = nn.Conv2d(3, CLASSES, 7, stride=4, padding=3)
    for passes in (Passes(), Passes((0.4, 1.2), flip=True), Passes(tiles=Tiles((48, 48), 16))):
        mask = predict(coarse, frame, IMAGENET, passes)
        assert (mask.shape, mask.dtype) == (frame.shape[:2], np.uint8)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta?"])
def test_a_device_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(
        DeviceError, match=f"device '{name.replace('?', '.')}' cannot be had"
    ) as error:
        check_device(name)
    assert "\n" not in str(error.value)


def test_opened_weights_say_what_they_are_and_what_runs_them(frame: NDArray[np.uint8]) -> None:
    segmenter = TorchSegmenter("lw-mobilenetv2-camvid")
    assert segmenter.card.variant == "lw-mobilenetv2"
    assert segmenter.description == f"PyTorch {torch.__version__}, cpu"
    assert segmenter(frame).shape == frame.shape[:2]


def test_weights_are_fed_what_their_card_says(
    mobile: nn.Module, mobile_card: Card, frame: NDArray[np.uint8], tmp_path: Path
) -> None:
    other_card = replace(mobile_card, mean=(0.2, 0.6, 0.4), std=(0.5, 0.1, 0.3))
    save_checkpoint(tmp_path / "other.safetensors", mobile, other_card)
    mask = TorchSegmenter(tmp_path / "other.safetensors")(frame)
    assert (mask == predict(mobile, frame, other_card.normalization)).all()
    assert (mask != predict(mobile, frame, IMAGENET)).any()


def test_weights_of_one_class_are_refused(mobile_card: Card, tmp_path: Path) -> None:
    path = tmp_path / "road.safetensors"
    card = replace(mobile_card, classes=("road",), palette=((1, 2, 3),))
    save_checkpoint(path, create_model("lw-mobilenetv2", 1), card)
    with pytest.raises(InputError, match=r"road\.safetensors has one class"):
        TorchSegmenter(path)
