"""The default recipe learns half a dozen easy images, and knows others by them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from refinenet.__main__ import main
from runtime.card import read_card

BACKGROUND, COLOURS = (60, 120, 60), ((40, 40, 200), (200, 160, 40))  # BGR


@pytest.fixture
def easy(tmp_path: Path) -> Path:
    """Red and blue discs on green ground: six images to train on, three others to validate on."""
    random = np.random.default_rng(0)
    names: dict[str, list[str]] = {"train": [], "val": []}
    for index in range(9):
        split = "train" if index < 6 else "val"
        frame, label = np.full((120, 160, 3), BACKGROUND, np.uint8), np.zeros((120, 160), np.uint8)
        for class_id in (1, 2, 1, 2):
            place = (int(random.integers(20, 140)), int(random.integers(20, 100)))
            radius = int(random.integers(12, 25))
            cv2.circle(frame, place, radius, COLOURS[class_id - 1], cv2.FILLED)
            cv2.circle(label, place, radius, class_id, cv2.FILLED)
        noise = random.integers(-12, 12, frame.shape)
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.clip(frame + noise, 0, 255).astype(np.uint8))
        cv2.imwrite(str(tmp_path / f"{index}_label.png"), label)
        names[split].append(str(index))
    description = {
        "images": "{name}.png",
        "labels": "{name}_label.png",
        "splits": names,
        "classes": ["ground", "red", "blue"],
    }
    (tmp_path / "easy.json").write_text(json.dumps(description), encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_six_easy_images_are_enough_for_the_default_recipe(easy: Path, imagenet: Path) -> None:
    arguments = ("--variant", "lw-mobilenetv2", "--data", str(easy), "--epochs", "12", "--quiet")
    dataset = ("--dataset", str(easy / "easy.json"), "--backbone-weights", str(imagenet))
    run = easy / "run"
    assert main(["train", *arguments, *dataset, "--output", str(run), "--device", "cpu"]) == 0
    card = read_card(run / "best.safetensors")
    assert card.details["recipe"]["ema"] == 0.99
    assert card.details["result"]["val_miou"] > 0.9
