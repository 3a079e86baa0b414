"""The networks that RefineNet is compared with train, stop, go on and are evaluated, as it does."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from refinenet.activation_ranges import load_ranges, shipped_ranges
from refinenet.checkpoints.load import load_checkpoint
from refinenet.data.augmentation import Augmentation
from refinenet.data.datasets import open_dataset
from refinenet.evaluation.evaluate import confusion
from refinenet.evaluation.predict import predict
from refinenet.training import batches
from refinenet.training.qat import int8_convolutions
from refinenet.training.recipes.recipe import PRESETS
from refinenet.training.train import TrainOptions, fed, train
from refinenet.variants import VARIANTS, normalization_of
from runtime.normalization import IMAGENET

LARGE = ("fcn-32s", "fcn-16s", "fcn-8s", "fcn-8s-at-once", "fcn-50", "fcn-101", "unet")
LARGE += ("unet-bilinear", "deeplab-v2-101", "deeplab-v2-101-msc")
COMPARED = [name for name, row in VARIANTS.items() if not row.chained_pooling]


def options_of(variant: str, data: Path, output: Path) -> TrainOptions:
    """Two epochs of two steps by the recipe of its paper, on crops of 64x64."""
    recipe = replace(
        PRESETS[VARIANTS[variant].recipe],
        epochs=2,
        batch=2,
        augmentation=Augmentation(crop=64),
        ema=0.0,
    )
    return TrainOptions(
        variant=variant, data=data, output=output, recipe=recipe, workers=0, quiet=True
    )


def interrupt_at(sample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while this training sample, counted from 1, is made."""
    count, augment = 0, batches.augment

    def counting(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == sample:
            raise KeyboardInterrupt
        return augment(*arguments)

    monkeypatch.setattr(batches, "augment", counting)


@pytest.mark.parametrize(
    "variant",
    [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in COMPARED],
)
def test_it_trains_goes_on_and_is_evaluated(
    variant: str, small_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = options_of(variant, small_camvid, tmp_path)
    interrupt_at(7, monkeypatch)  # in the second epoch
    with pytest.raises(KeyboardInterrupt):
        train(options)
    monkeypatch.undo()
    best = train(replace(options, resume=True))
    with (tmp_path / "log.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    network, card = load_checkpoint(best)
    assert (card.variant, card.normalization) == (variant, normalization_of(variant))
    found = confusion(
        lambda frame: predict(network, frame, card.normalization),
        open_dataset("camvid", small_camvid, "val"),
    )
    assert round(found.mean_iou, 4) == max(float(row["val_miou"]) for row in rows)


@pytest.mark.parametrize(
    "variant", ["unet-mobilenetv2", "fcn-mobilenetv2", "deeplab-mobilenetv2-os16"]
)
def test_it_learns_with_the_rounding_of_int8(
    variant: str, small_camvid: Path, tmp_path: Path
) -> None:
    options = options_of(variant, small_camvid, tmp_path / "plain")
    options = replace(options, recipe=replace(options.recipe, epochs=1))
    plain = train(options)
    best = train(replace(options, output=tmp_path / "qat", weights=plain, qat=True))
    network, _ = load_checkpoint(best)
    ranges = load_ranges(shipped_ranges(best)).limits
    assert ranges.keys() == {f"network.{name}.weight" for name in int8_convolutions(network)}
    assert all(limit > 0 for limit in ranges.values())


def test_an_interrupted_u_net_ends_where_an_unbroken_one_does(
    small_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its batch norm learns, which that of backbones does not."""
    variant = "unet-mobilenetv2"
    whole = train(options_of(variant, small_camvid, tmp_path / "whole"))
    broken = options_of(variant, small_camvid, tmp_path / "broken")
    interrupt_at(7, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(broken)
    monkeypatch.undo()
    resumed = train(replace(broken, resume=True))
    expected = load_checkpoint(whole)[0].state_dict()
    found = load_checkpoint(resumed)[0].state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert expected["decoder.0.convs.1.running_mean"].any()
    assert not expected["backbone.stem.1.running_mean"].any()


def test_a_training_from_imagenet_weights_sees_what_those_saw(
    small_camvid: Path, imagenet: Path, tmp_path: Path
) -> None:
    fresh = options_of("fcn-8s", small_camvid, tmp_path)
    assert fed(fresh) == normalization_of("fcn-8s") != IMAGENET
    assert fed(replace(fresh, backbone_weights=imagenet)) == IMAGENET
