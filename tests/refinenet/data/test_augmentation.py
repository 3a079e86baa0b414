"""A training sample is a random cut-out in which image and label still belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

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


RAMP_SIDE, RAMP_STEP = 30, 8  # pixels; levels from pixel to pixel, so that rounding is 0.06 pixels
VOID = 255
RAMP = np.arange(RAMP_SIDE, dtype=np.uint8)


def ramps() -> tuple[Frame, Mask, Mask]:
    """A frame whose blue tells the column and whose green the row; labels that tell either."""
    rows, columns = np.meshgrid(RAMP, RAMP, indexing="ij")
    frame = RAMP_STEP * np.stack([columns, rows, columns], axis=2)
    return frame, columns, rows


def of_ramps(
    sample: tuple[Frame, Mask], options: Augmentation, seed: int = 0
) -> tuple[Frame, Mask]:
    return augment(*sample, VOID, IMAGENET, options, np.random.default_rng(seed))


def whole_places(length: int) -> NDArray[np.float64]:
    """Where the pixels of a line of `length` lie on the image that it was resized from."""
    return np.clip((np.arange(length) + 0.5) * RAMP_SIDE / length - 0.5, 0, RAMP_SIDE - 1)


@pytest.mark.parametrize("crop", [24, 47, 80])
def test_frame_and_label_are_sampled_on_one_grid(crop: int) -> None:
    frame, columns, rows = ramps()
    options = Augmentation(crop, colour=0)
    biases = []
    for seed in range(200):
        chance = np.random.default_rng(seed)
        scale = float(np.exp(chance.uniform(*np.log(options.scales))))
        side = round(scale * RAMP_SIDE)
        for label, channel in ((columns, 0), (rows, 1)):
            cut, ids = of_ramps((frame, label), options, seed)
            inside = ids != VOID
            found = cut[:, :, channel][inside] / RAMP_STEP
            # Every place of the frame is one of the grid of that size, to 0.1 pixel.
            apart = np.abs(found[:, None] - whole_places(side)).min(axis=1)
            assert apart.max() < 0.1
            # The label is the pixel that lies nearest.
            assert np.abs(found - ids[inside]).max() < 0.6
            edge = (found < 1) | (found > RAMP_SIDE - 2)  # where the frame repeats its last pixel
            biases.append(float((ids[inside] - found)[~edge].mean()))
    assert abs(np.mean(biases)) < 0.05


@pytest.mark.parametrize("scale", [0.503, 0.75, 0.9, 1, 1.0163, 1.37, 1.713, 1.99, 2])
@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("crop", [60, 75])  # the whole image, and padding around it
def test_the_whole_grid_runs_from_edge_to_edge(scale: float, flip: int, crop: int) -> None:
    frame, columns, _ = ramps()
    options = Augmentation(crop, scales=(scale, scale), flip=flip, colour=0)
    cut, ids = of_ramps((frame, columns), options)
    row = np.flatnonzero((ids != VOID).any(axis=1))[0]
    inside = ids[row] != VOID
    assert np.count_nonzero(inside) == round(scale * RAMP_SIDE)
    found, labels = cut[row, inside, 0] / RAMP_STEP, ids[row, inside].astype(float)
    if flip:
        found, labels = found[::-1], labels[::-1]
    np.testing.assert_allclose(found, whole_places(len(found)), rtol=0, atol=0.1)
    if scale in (0.503, 0.75):  # every second or fourth place lies halfway between two pixels
        assert np.abs(labels - found).max() <= 0.56
    else:
        inner = slice(2, -2)
        assert abs((labels - found)[inner].mean()) < 0.1


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


def test_colour_leaves_the_padding_alone_and_is_not_moved_by_it(sample: tuple[Frame, Mask]) -> None:
    label = np.zeros((360, 480), np.uint8)
    # Cut to the image's size and cut far larger: the same colours, whatever the padding.
    frames = []
    for crop in (480, 900):
        options = Augmentation(crop, scales=(1, 1), flip=0, colour=0.3)
        frame, cut = augmented((sample[0], label), options)
        assert (frame[cut == IGNORE] == MEAN_BGR).all()
        frames.append(frame[cut == 0])
    np.testing.assert_array_equal(*frames)


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
