"""Any segmentation network can be exported, by the function that makes it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import run
from numpy.typing import NDArray

from export.factory import open_source
from export.frame_model import FrameModel
from refinenet.__main__ import main
from runtime.card import read_card
from runtime.errors import CheckpointError, InputError

NETWORKS = """
import torch
from torch import nn

def layers(classes=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
                         nn.Conv2d(8, classes, 3, 2, 1))

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = layers()
    def forward(self, image):
        scores = self.layers(image)
        return {"out": scores, "aux": scores + 1}

class Branching(Named):
    def forward(self, image):
        scores = self.layers(image)
        return scores if scores.mean() > 0 else scores + 1

class Strange(Named):
    def forward(self, image):
        return torch.linalg.qr(self.layers(image))[0]

class Pair(Named):
    def forward(self, image):
        return self.layers(image), image

def classifier():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))

def number():
    return 5

def deep():
    return nn.Conv2d(4, 2, 1)

def forgetful():
    raise KeyError("layers")

def leaving():
    raise SystemExit(3)

def needy():
    import no_such_package

class Asserting(Named):
    def forward(self, image):
        assert image.shape[2] == 65, "65 rows alone"

constant = 7
"""
BROKEN = "x = ("


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    (folder / "my_networks.py").write_text(NETWORKS)
    (folder / "half_written.py").write_text(BROKEN)
    return folder


@pytest.fixture(autouse=True)
def here(networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user calls refinenet where my_networks.py lies."""
    monkeypatch.syspath_prepend(networks)
    monkeypatch.chdir(networks)


def card_file(folder: Path, classes: list[str]) -> Path:
    content = {
        "schema_version": 1,
        "variant": "mine",
        "classes": classes,
        "palette": [[10 * index, 0, 0] for index in range(len(classes))],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
    }
    path = folder / "mine.json"
    path.write_text(json.dumps(content))
    return path


def test_the_command_exports_it_and_the_masks_are_pytorchs(
    tmp_path: Path, photo_frame: NDArray[np.uint8]
) -> None:
    mine = card_file(tmp_path, ["sky", "road", "car", "tree"])
    options = f"--output {tmp_path} --size 70x90 --precision fp32 --quiet --card {mine}"
    assert main(["export", "--factory", "my_networks:Named", *options.split()]) == 0
    path = tmp_path / "Named.fp32.onnx"
    card = read_card(path)
    assert card.classes == ("sky", "road", "car", "tree")
    assert (card.variant, card.mean) == ("my_networks:Named", (0.5, 0.5, 0.5))
    source = open_source(None, card.details["factory"])
    assert card.parents == {"weights": source.sha256}
    frames = np.ascontiguousarray(photo_frame[None, :70, :90])
    with torch.inference_mode():
        # The exported card's order is that of the frames, the network's is RGB.
        model = FrameModel(source.network, replace(card, channel_order="RGB")).eval()
        expected = model(torch.from_numpy(frames)).numpy()
    assert np.mean(run(path, frames) == expected) >= 0.9999
    assert len(np.unique(expected)) > 1


@pytest.mark.parametrize("function", ["Named", "Pair", "layers"])
def test_scores_may_come_alone_named_or_first(function: str) -> None:
    source = open_source(None, f"my_networks:{function}")
    assert source.network(torch.zeros(1, 3, 32, 40)).shape == (1, 4, 8, 10)
    assert source.card.classes == ("class_0", "class_1", "class_2", "class_3")


def test_a_state_dict_fills_the_network(tmp_path: Path) -> None:
    trained = open_source(None, "my_networks:layers").network.state_dict()
    weights = {key.removeprefix("network."): value + 1 for key, value in trained.items()}
    torch.save(weights, tmp_path / "trained.pth")
    source = open_source(tmp_path / "trained.pth", "my_networks:layers")
    assert all(
        torch.equal(v, weights[k.removeprefix("network.")])
        for k, v in source.network.state_dict().items()
    )
    assert source.sha256 != open_source(None, "my_networks:layers").sha256
    torch.save({"other": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError, match=r"other\.pth does not fit the network of my_networks"
    ):
        open_source(tmp_path / "other.pth", "my_networks:layers")


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("my_networks", "expected package.module:function"),
        ("no_such_module:f", "no module named no_such_module"),
        ("my_networks:absent", "has no attribute 'absent'"),
        ("my_networks:constant", "constant is no function"),
        ("my_networks:number", r"gives int; expected a torch\.nn\.Module"),
        ("my_networks:forgetful", r"forgetful fails: KeyError: 'layers'; call it in Python"),
        ("my_networks:leaving", "leaving fails: SystemExit: 3"),
        ("my_networks:needy", "needy fails: no module named no_such_package"),
        ("my_networks:Asserting", r"\(1, 3, 64, 64\): AssertionError: 65 rows alone"),
        ("half_written:f", r"half_written:f fails: SyntaxError: .*line 1\)"),
        ("my_networks:classifier", r"gives shape \(1, 5\) of float32; expected scores"),
        ("my_networks:deep", r"fails on images \(1, 3, 64, 64\)"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(factory: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_source(None, factory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("Branching", "data-dependent expression"),
        ("Strange", "No ONNX function found for .*linalg_qr"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(
    function: str, reason: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = f"--output {tmp_path} --size 64x64 --precision fp32 --quiet"
    assert main(["export", "--factory", f"my_networks:{function}", *options.split()]) == 2
    told = capfd.readouterr().err
    assert re.search(rf"InputError: my_networks:{function} cannot be exported: .*{reason}", told)
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_card_for_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    mine = card_file(tmp_path, ["sky", "road"])
    with pytest.raises(InputError, match=r"names 2 classes; my_networks:Named gives 4"):
        open_source(None, "my_networks:Named", mine)


@pytest.mark.parametrize("weights", [(), ("mine.pth",)])
def test_int8_of_it_needs_images(
    weights: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(open_source(None, "my_networks:layers").network.state_dict(), "mine.pth")
    asked = ["export", *weights, "--factory", "my_networks:layers", "--output", str(tmp_path)]
    assert main(asked) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "give --calibration IMAGES, or leave int8 out: --precision fp32,fp16" in line


def test_nothing_to_export_is_said() -> None:
    with pytest.raises(InputError, match="no weights given, and no --factory"):
        open_source(None)
