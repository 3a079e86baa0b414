"""One folder in several ways: timed, and held to equal masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_models import write_model

from runtime.errors import CheckFailed
from tools.folder_cost import ONE, SHARDS, folder_cost, main


def test_one_process_and_shards_are_timed(tmp_path: Path, photo: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(4):
        shutil.copyfile(photo, folder / f"{index}.jpg")
    model = write_model(tmp_path / "toy.onnx")
    file = tmp_path / "record.json"
    assert main([str(p) for p in (model, folder, "--rounds", "1", "--json", file)]) == 0
    record = json.loads(file.read_text())
    assert record["images"] == 4
    assert [cost["case"] for cost in record["costs"]] == [ONE, SHARDS]
    assert all(cost["seconds"][0] > 0 for cost in record["costs"])
    (folder / "4.jpg").write_bytes(b"no image")
    with pytest.raises(CheckFailed, match="ended with 2"):
        folder_cost(model, folder, 2, 1, None)
