"""The whole training loop learns: three photos by heart."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from refinenet.augmentation import Augmentation
from refinenet.checkpoints import read_weights
from refinenet.recipe import Recipe
from refinenet.train import TrainOptions, train
from runtime.card import read_card


@pytest.fixture
def three_images(shared: Path, tmp_path: Path) -> Path:
    """VOC's layout with the three images of its val split for training too."""
    source, folder = shared / "data/voc/VOC2012", tmp_path / "voc"
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    for name in ("JPEGImages", "SegmentationClass"):
        (folder / name).symlink_to(source / name)
    names = (source / "ImageSets/Segmentation/val.txt").read_text(encoding="utf-8").split()
    assert len(names) == 3
    for split, repeats in (("train", 20), ("val", 1)):
        text = "\n".join(names * repeats)
        (folder / f"ImageSets/Segmentation/{split}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_three_voc_images_are_learned_by_heart_in_two_minutes(
    three_images: Path, imagenet: Path, tmp_path: Path
) -> None:
    recipe = Recipe(
        epochs=6,
        batch=3,
        backbone_lr=3e-4,
        decoder_lr=3e-3,
        class_weights="none",
        ema=0,
        augmentation=Augmentation(crop=224, scales=(1, 1), flip=0, colour=0),
    )
    start = time.process_time()  # the time of this test alone, however busy the machine
    best = train(
        TrainOptions(
            variant="lw-mobilenetv2",
            data=three_images,
            dataset="voc",
            output=tmp_path / "run",
            recipe=recipe,
            backbone_weights=imagenet,
            workers=0,
            validate_every=2,
            quiet=True,
        )
    )
    assert read_card(best).details["result"]["val_miou"] > 0.95
    assert time.process_time() - start < 120
    assert read_weights(best)
