"""A model is judged by the labels, and by those of its own dataset alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from refinenet.__main__ import main
from refinenet.checkpoints.load import save_checkpoint
from refinenet.data.datasets import CAMVID, LabelledImages, open_dataset
from refinenet.evaluation.evaluate import EvaluateOptions, confusion, evaluate
from runtime.card import Card
from runtime.errors import InputError
from runtime.frames import Frame, Mask


@pytest.fixture
def images(tiny_camvid: Path) -> LabelledImages:
    return open_dataset("camvid", tiny_camvid, "val")


@pytest.fixture
def untrained(mobile: nn.Module, mobile_card: Card, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "untrained.safetensors", mobile, mobile_card)
    return tmp_path / "untrained.safetensors"


class Oracle:
    """Knows the label of every frame; where that is void, it says sky."""

    def __init__(self, images: LabelledImages) -> None:
        pairs = [images.read(index) for index in range(len(images))]
        self.labels = {frame.tobytes(): label for frame, label in pairs}

    def __call__(self, frame: Frame) -> Mask:
        label = self.labels[frame.tobytes()]
        return np.where(label == CAMVID.ignore_id, 0, label).astype(np.uint8)


def test_a_perfect_mask_is_100_percent(images: LabelledImages) -> None:
    oracle = Oracle(images)
    perfect = confusion(oracle, images)
    assert perfect.mean_iou == perfect.pixel_accuracy == 1
    assert np.nanmin(perfect.iou) == 1
    labelled = sum(np.count_nonzero(label != CAMVID.ignore_id) for label in oracle.labels.values())
    assert perfect.counts.sum() == labelled


def test_a_mask_that_is_one_pixel_off_is_not(images: LabelledImages) -> None:
    oracle = Oracle(images)
    shifted = confusion(lambda frame: np.roll(oracle(frame), 1, axis=1), images)
    assert 0.5 < shifted.mean_iou < 0.99


def test_a_limit_counts_the_first_images_alone(images: LabelledImages) -> None:
    labelled = np.count_nonzero(images.read(0)[1] != CAMVID.ignore_id)
    assert confusion(Oracle(images), images, limit=1).counts.sum() == labelled


def test_weights_of_other_classes_are_refused(published_mobile: Path, tiny_camvid: Path) -> None:
    with pytest.raises(InputError, match=r" 21 .*camvid .* 11"):
        evaluate(EvaluateOptions(str(published_mobile), tiny_camvid, quiet=True))


def test_the_record_is_json_even_where_nothing_was_labelled(
    untrained: Path, small_camvid: Path, tmp_path: Path
) -> None:
    data, record = tmp_path / "data", tmp_path / "record.json"
    (data / "labels/val").mkdir(parents=True)
    for name in ("images", "val.txt"):
        (data / name).symlink_to(small_camvid / name)
    for label in (small_camvid / "labels/val").iterdir():
        void = np.full((96, 128), CAMVID.ignore_id, np.uint8)
        Image.fromarray(void).save(data / "labels/val" / label.name)
    given = ["--data", str(data), "--json", str(record), "--limit", "1", "--quiet"]
    assert main(["evaluate", str(untrained), *given]) == 0
    content = strict_json(record)
    assert content["miou"] is None
    assert set(content["iou"].values()) == {None}


def strict_json(file: Path) -> Any:
    """NaN and infinities are Python's own extension: other programs cannot read them."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    with pytest.raises(ValueError, match="NaN"):
        json.loads("[NaN]", parse_constant=refuse)
    return json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
