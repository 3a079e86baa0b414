"""The whole training loop learns: three photos by heart, from ImageNet's backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from refinenet.data.augmentation import Augmentation
from refinenet.training.recipes.recipe import Recipe
from refinenet.training.train import TrainOptions, train
from runtime.card import read_card

SIDE = 192  # of the photos, pixels: a crop is the whole photo, and scores at stride 4 suffice
# The number of steps limits the result: of what docs/training.md lists nothing learned more in the
# same time.
RECIPE = Recipe(
    epochs=14,
    batch=1,
    backbone_lr=5e-4,
    decoder_lr=5e-4,
    warmup=0.1,
    ema=0.9,  # single photos pull the weights to and fro
    precision="bf16",
    clip_norm=1,
    augmentation=Augmentation(crop=SIDE, scales=(1, 1), flip=0, colour=0),
)


@pytest.fixture
def three_photos(shared: Path, tmp_path: Path) -> Path:
    """VOC's layout with the three photos of its val split, made square, for training too."""
    source, folder = shared / "data/voc/VOC2012", tmp_path / "voc"
    names = (source / "ImageSets/Segmentation/val.txt").read_text(encoding="utf-8").split()
    assert len(names) == 3
    for kind, ending, resampling in (
        ("JPEGImages", ".jpg", Image.Resampling.BILINEAR),
        ("SegmentationClass", ".png", Image.Resampling.NEAREST),
    ):
        (folder / kind).mkdir(parents=True)
        for name in names:
            image = Image.open(source / kind / f"{name}{ending}")
            image.resize((SIDE, SIDE), resampling).save(folder / kind / f"{name}{ending}")
    splits = folder / "ImageSets/Segmentation"
    splits.mkdir(parents=True)
    (splits / "train.txt").write_text("\n".join(names * 10), encoding="utf-8")
    (splits / "val.txt").write_text("\n".join(names), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_three_photos_are_learned_by_heart(
    three_photos: Path, imagenet: Path, tmp_path: Path
) -> None:
    best = train(
        TrainOptions(
            variant="lw-mobilenetv2",
            data=three_photos,
            dataset="voc",
            output=tmp_path / "run",
            recipe=RECIPE,
            backbone_weights=imagenet,
            workers=0,
            validate_every=RECIPE.epochs,
            quiet=True,
        )
    )
    assert read_card(best).details["result"]["val_miou"] > 0.95
