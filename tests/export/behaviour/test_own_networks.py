"""A network of one's own from export to verification, benchmark and masks, by the commands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from field_networks import named_module

from refinenet import create_model
from refinenet.__main__ import main
from refinenet.checkpoints.load import save_checkpoint
from runtime import Segmenter
from runtime.card import Card, read_card

BGR_CARD = {
    "schema_version": 1,
    "variant": "mine",
    "classes": ["blue", "green", "red"],
    "palette": [[0, 0, 255], [0, 255, 0], [255, 0, 0]],
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
    "channel_order": "BGR",
}


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    """64x96: blue, green and red from left to right, of other brightness in every row."""
    frame = np.zeros((64, 96, 3), np.uint8)
    for channel in range(3):
        frame[:, 32 * channel : 32 * (channel + 1), channel] = np.arange(64)[:, None] + 190
    path = tmp_path / "flag.png"
    cv2.imwrite(str(path), frame)
    return path


def export(function: str, folder: Path, *options: str) -> Path:
    asked = ["export", *options, "--factory", f"field_networks:{function}", "--output", str(folder)]
    assert main([*asked, "--precision", "fp32", "--size", "64x96", "--quiet"]) == 0
    return folder / f"{function}.fp32.onnx"


def row_of(path: Path, image: Path) -> list[int]:
    """The middle row of the image's mask, every 32nd pixel."""
    with Segmenter.open(path) as segmenter:
        return [int(value) for value in segmenter(cv2.imread(str(image)))[32, 16::32]]


@pytest.mark.slow
def test_the_cards_channel_order_holds_from_end_to_end(tmp_path: Path, flag: Path) -> None:
    card = tmp_path / "card.json"
    card.write_text(json.dumps(BGR_CARD))
    out = tmp_path / "out"
    path = export("bycolour", out, "--card", str(card))
    assert row_of(path, flag) == [0, 1, 2]
    assert read_card(path).classes == ("blue", "green", "red")
    asked = ["--factory", "field_networks:bycolour", "--images", str(flag), "--quiet"]
    assert main(["verify", str(out), *asked]) == 0
    assert main(["verify", str(out), *asked, "--card", str(card)]) == 0
    assert agreement(out, asked, tmp_path) == 1
    # The export's own card, whose channel order is that of the frames, says the same.
    beside = out / "bycolour.fp32.onnx.card.json"
    assert row_of(export("bycolour", tmp_path / "again", "--card", str(beside)), flag) == [0, 1, 2]
    assert main(["verify", str(out), *asked, "--card", str(beside)]) == 0


def agreement(folder: Path, asked: list[str], tmp_path: Path) -> float:
    """The share of pixels at which ONNX Runtime agrees with PyTorch in a benchmark."""
    record = tmp_path / "record.json"
    short = ["--rounds", "1", "--seconds", "0.01", "--limit-seconds", "0.1", "--json", str(record)]
    assert main(["benchmark", str(folder), *asked, *short]) == 0
    results = json.loads(record.read_text())["results"]
    assert {"PyTorch eager", "ONNX Runtime CPU"} <= {entry["name"] for entry in results}
    (row,) = (entry for entry in results if entry["name"] == "ONNX Runtime CPU")
    found = row["accuracies"][0]["agreement"]
    return float(found["equal_pixels"] / found["pixels"])


def test_verify_sees_a_card_of_another_order(
    tmp_path: Path, flag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export("bycolour", tmp_path / "out")
    other = tmp_path / "other.json"
    other.write_text(json.dumps(BGR_CARD | {"classes": ["class_0", "class_1", "class_2"]}))
    asked = ["--factory", "field_networks:bycolour", "--images", str(flag), "--card", str(other)]
    assert main(["verify", str(tmp_path / "out"), *asked, "--quiet"]) == 1
    assert "fp32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("function", "row"), [("red", [0, 0, 1]), ("class_ids", [2, 1, 0]), ("red_or_not", [0, 0, 1])]
)
def test_masks_of_one_channel_and_of_class_ids_are_not_empty(
    function: str, row: list[int], tmp_path: Path, flag: Path
) -> None:
    path = export(function, tmp_path / "out")
    assert row_of(path, flag) == row
    asked = ["--factory", f"field_networks:{function}", "--images", str(flag), "--quiet"]
    assert main(["verify", str(tmp_path / "out"), *asked]) == 0
    assert agreement(tmp_path / "out", asked, tmp_path) == 1


@pytest.mark.slow
def test_a_one_class_network_of_ours_gives_background_and_foreground(
    tmp_path: Path, photo: Path
) -> None:
    torch.manual_seed(0)
    network = create_model("lw-mobilenetv2", 1).eval()
    with torch.no_grad():
        network.get_parameter("classifier.0.bias").fill_(0)
    weights = tmp_path / "road.safetensors"
    card = Card(variant="lw-mobilenetv2", classes=("road",), palette=((128, 64, 128),))
    save_checkpoint(weights, network, card)
    out = tmp_path / "out"
    asked = ["--output", str(out), "--size", "64x96", "--precision", "fp32", "--quiet"]
    assert main(["export", str(weights), *asked]) == 0
    found = read_card(out / "road.fp32.onnx")
    assert found.classes == ("background", "road")
    assert found.palette == ((0, 0, 0), (128, 64, 128))
    assert main(["verify", str(out), "--weights", str(weights), "--images", str(photo)]) == 0


def test_a_part_called_module_keeps_its_keys(tmp_path: Path, flag: Path) -> None:
    weights = tmp_path / "mine.pth"
    torch.manual_seed(1)
    torch.save({"model": named_module().state_dict(), "ema": named_module().state_dict()}, weights)
    out = tmp_path / "out"
    asked = ["--factory", "field_networks:named_module"]
    options = ["--output", str(out), "--size", "64x96", "--precision", "fp32", "--quiet"]
    assert main(["export", str(weights), *asked, *options, "--weights-key", "ema"]) == 0
    assert read_card(out / "mine.fp32.onnx").details["weights_key"] == "ema"
    verified = ["--weights", str(weights), "--images", str(flag), "--quiet"]
    assert main(["verify", str(out), *asked, *verified]) == 0


def test_the_documented_example_works(
    tmp_path: Path, flag: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs/own-networks.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (card,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "card.json").write_text(card)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "photos").mkdir()
    flag.rename(tmp_path / "photos/flag.png")
    commands = re.findall(r"^    refinenet (.* --factory mine:network .*)$", page, re.MULTILINE)
    for command in commands[:2]:
        assert main(shlex.split(command)) == 0
    assert row_of(tmp_path / "build/network.fp32.onnx", tmp_path / "photos/flag.png") == [0, 0, 1]


@pytest.mark.parametrize(
    ("asked", "fact"),
    [
        (["verify", "{tmp}", "--weights", "w", "--images", "{tmp}", "--card", "c"], "--factory"),
        (["export", "--factory", "field_networks:red", "--weights-key", "a"], "--weights-key"),
        (
            ["export", "--factory", "field_networks:class_ids", "--output-kind", "logits"],
            "--output-kind",
        ),
        (["export", "--factory", "field_networks:red", "--card", "{tmp}/none.json"], "none.json"),
    ],
)
def test_what_would_change_nothing_or_is_missing_is_one_line(
    asked: list[str], fact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("{tmp}", str(tmp_path)) for word in asked]
    if words[0] == "export":
        words += ["--output", str(tmp_path), "--precision", "fp32"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert fact in line
    assert not list(tmp_path.iterdir())
