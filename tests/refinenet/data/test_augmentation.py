"""A training sample is a random cut-out in which image and label still belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from refinenet.data.augmentation import Augmentation, augment
from refinenet.data.datasets import CAMVID, open_dataset
from refinenet.data.network_input import to_input
from runtime.frames import Frame, Mask
from runtime.normalization import IMAGENET

IGNORE = CAMVID.ignore_id
MEAN_BGR = (104, 116, 124)  # 255 times ImageNet's mean, rounded


@pytest.fixture(scope="module")
def sample(camvid: Path) -> tuple[Frame, Mask]:
    return open_dataset("camvid", camvid, "train").read(0)


def augmented(
    sample: tuple[Frame, Mask], options: Augmentation, seed: int = 0
) -> tuple[Frame, Mask]:
    return augment(*sample, IGNORE, IMAGENET, options, np.random.default_rng(seed))


@pytest.mark.parametrize("crop", [64, 321, 900])
def test_a_sample_is_square_and_uint8(sample: tuple[Frame, Mask], crop: int) -> None:
    frame, label = augmented(sample, Augmentation(crop))
    assert (frame.shape, frame.dtype) == ((crop, crop, 3), np.uint8)
    assert (label.shape, label.dtype) == ((crop, crop), np.uint8)
    assert label.flags.c_contiguous


def test_the_generator_decides_alone(sample: tuple[Frame, Mask]) -> None:
    options = Augmentation(128)
    first, again, other = (augmented(sample, options, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


def test_the_original_stays_as_it_is(sample: tuple[Frame, Mask]) -> None:
    kept = [array.copy() for array in sample]
    augmented(sample, Augmentation(320, scales=(1, 1)))
    assert all(np.array_equal(one, two) for one, two in zip(sample, kept, strict=True))


def painted(label: Mask) -> Frame:
    """A frame whose colour tells the label: 20 levels apart."""
    return np.repeat(20 * label[:, :, None], 3, axis=2)


def agreement(frame: Frame, label: Mask) -> float:
    """The share of the pixels inside the image whose colour tells their label."""
    inside = (frame != MEAN_BGR).any(axis=2)
    return float((np.rint(frame[inside, 0] / 20) == label[inside]).mean())


@pytest.mark.parametrize("seed", range(8))
def test_image_and_label_stay_aligned(sample: tuple[Frame, Mask], seed: int) -> None:
    label = sample[1]
    # Blocks, since a scaled image blends neighbours and a scaled label does not.
    label = label[20::40, 20::40].repeat(40, axis=0).repeat(40, axis=1)
    options = Augmentation(320, colour=0)
    frame, cut = augmented((painted(label), label), options, seed)
    assert agreement(frame, cut) > 0.97
    assert agreement(frame, np.roll(cut, 10, axis=1)) < 0.95
    assert agreement(frame[:, ::-1], cut) < 0.8


def test_without_scale_a_sample_is_an_exact_piece_or_its_mirror(
    sample: tuple[Frame, Mask],
) -> None:
    label = sample[1]
    options = Augmentation(360, scales=(1, 1), colour=0)
    mirrored = set()
    for seed in range(8):
        frame, cut = augmented((painted(label), label), options, seed)
        np.testing.assert_array_equal(frame, painted(cut))
        places = [
            (turned, x)
            for turned in (False, True)
            for x in range(480 - 360 + 1)
            if np.array_equal(cut[:, ::-1] if turned else cut, label[:, x : x + 360])
        ]
        assert len(places) == 1
        mirrored.add(places[0][0])
    assert mirrored == {False, True}


def test_padding_has_the_ignore_id_and_the_mean_colour(sample: tuple[Frame, Mask]) -> None:
    frame, label = sample[0], np.zeros((360, 480), np.uint8)
    options = Augmentation(600, scales=(1, 1), colour=0)
    cut_frame, cut_label = augmented((frame, label), options)
    assert set(np.unique(cut_label)) == {0, IGNORE}
    assert np.count_nonzero(cut_label == 0) == 360 * 480
    assert (cut_frame[cut_label == IGNORE] == MEAN_BGR).all()
    _, full = augmented((frame, label), Augmentation(300, scales=(1, 1)))
    assert (full == 0).all()


def test_colour_changes_the_image_and_not_the_label(sample: tuple[Frame, Mask]) -> None:
    plain = augmented(sample, Augmentation(200, colour=0))
    vivid = augmented(sample, Augmentation(200, colour=0.3))
    assert np.array_equal(plain[1], vivid[1])
    change = np.abs(plain[0].astype(int) - vivid[0].astype(int)).mean()
    assert 1 < change < 80


def test_the_scale_stays_in_its_range(sample: tuple[Frame, Mask]) -> None:
    label = np.zeros_like(sample[1])
    sides = []
    for seed in range(20):
        _, cut = augmented((sample[0], label), Augmentation(1000, colour=0), seed)
        sides.append(np.count_nonzero((cut == 0).any(axis=1)) / 360)
    assert 0.49 < min(sides) < 0.8
    assert 1.25 < max(sides) < 2.01


def test_to_input_is_the_formula_in_rgb_order() -> None:
    frame = np.array([[[0, 128, 255], [10, 20, 30]]], np.uint8)  # blue, green, red
    tensor = to_input(frame, IMAGENET)
    assert (tensor.shape, tensor.dtype) == ((3, 1, 2), torch.float32)
    expected = torch.tensor(
        [
            [(255 / 255 - 0.485) / 0.229, (30 / 255 - 0.485) / 0.229],
            [(128 / 255 - 0.456) / 0.224, (20 / 255 - 0.456) / 0.224],
            [(0 / 255 - 0.406) / 0.225, (10 / 255 - 0.406) / 0.225],
        ]
    )
    torch.testing.assert_close(tensor[:, 0], expected)
    wrong_order = to_input(np.ascontiguousarray(frame[:, :, ::-1]), IMAGENET)
    assert not torch.allclose(wrong_order[:, 0], expected)


def test_the_shorter_side_keeps_its_least_length(sample: tuple[Frame, Mask]) -> None:
    label = np.zeros_like(sample[1])
    options = Augmentation(700, scales=(0.5, 1.2), shorter_side=350, colour=0)
    heights = []
    for seed in range(12):
        _, cut = augmented((sample[0], label), options, seed)
        heights.append(np.count_nonzero((cut == 0).any(axis=1)))
    assert min(heights) == 350
    assert max(heights) > 380


def test_flip_says_how_often_a_sample_is_mirrored(sample: tuple[Frame, Mask]) -> None:
    never, always = (
        [augmented(sample, Augmentation(64, flip=flip), seed)[1] for seed in range(6)]
        for flip in (0, 1)
    )
    assert all(np.array_equal(a, b[:, ::-1]) for a, b in zip(never, always, strict=True))
