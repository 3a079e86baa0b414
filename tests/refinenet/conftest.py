"""The golden outputs, a CamVid of six images, and small checkpoints to load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
import torch
from golden_outputs import Golden
from torch import nn

from refinenet import create_model
from refinenet.data.datasets import CAMVID, open_dataset
from runtime.card import Card

TINY_SPLITS = {"train": 4, "val": 2}

CAMVID_CARD = Card(
    variant="lw-mobilenetv2",
    classes=CAMVID.classes,
    palette=CAMVID.palette,
    ignore_id=CAMVID.ignore_id,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine torch's threads wait for each other: tenfold for networks this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def golden(shared: Path) -> Golden:
    return Golden(shared / "golden")


@pytest.fixture(scope="session")
def tiny_camvid(camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CamVid's folder with the first four training and two validation images, as links."""
    folder = tmp_path_factory.mktemp("tiny_camvid")
    for split, count in TINY_SPLITS.items():
        names = (camvid / f"{split}.txt").read_text(encoding="utf-8").split()[:count]
        (folder / f"{split}.txt").write_text("\n".join(names), encoding="utf-8")
        for kind in ("images", "labels"):
            (folder / kind).mkdir(exist_ok=True)
            (folder / kind / split).symlink_to(camvid / kind / split)
    return folder


@pytest.fixture(scope="session")
def small_camvid(tiny_camvid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same six images and labels at 96x128: quick to train on."""
    folder = tmp_path_factory.mktemp("small_camvid")
    for split in TINY_SPLITS:
        (folder / f"{split}.txt").symlink_to(tiny_camvid / f"{split}.txt")
        images = open_dataset("camvid", tiny_camvid, split)
        for index, files in enumerate(images.pairs):
            sampling = (cv2.INTER_AREA, cv2.INTER_NEAREST)
            for file, pixels, how in zip(files, images.read(index), sampling, strict=True):
                small = folder / file.relative_to(tiny_camvid)
                small.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(small), cv2.resize(pixels, (128, 96), interpolation=how))
    return folder


@pytest.fixture
def mobile() -> nn.Module:
    """An untrained lw-mobilenetv2 for CamVid, always the same, in evaluation mode."""
    torch.manual_seed(0)
    return create_model("lw-mobilenetv2", len(CAMVID.classes)).eval()


@pytest.fixture
def mobile_card() -> Card:
    return CAMVID_CARD


@pytest.fixture
def imagenet(shared: Path) -> Path:
    """MobileNetV2 as trained on ImageNet, with torchvision's keys."""
    return shared / "data/weights/mobilenetv2_imagenet_tvkeys.pth"


@pytest.fixture(scope="session")
def published_mobile(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published Light-Weight RefineNet on MobileNetV2 with 21 classes, a bare state_dict."""
    path = tmp_path_factory.mktemp("published") / "mbv2.pth"
    torch.save(golden.weights("mbv2"), path)
    return path
