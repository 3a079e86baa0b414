"""The record of INT8's scales: what verify and build wrote, and nothing where one is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import CARD

from runtime.card import write_sidecar
from runtime.engine.plan_facts import PLAN
from runtime.errors import InputError
from tools.int8_scales import accuracy, costs

FACTS = {
    "kernels": 3,
    "fused_sums": 1,
    "bytes": 2_400_000,
    "weighted_layers": [
        {"name": "a", "reads": "int8", "writes": "fp16"},
        {"name": "b", "reads": "int8", "writes": "fp16"},
        {"name": "c", "reads": "fp16", "writes": "fp16"},
    ],
    "estimate_ms": {"rtx-4090": [0.1, 0.2]},
}


def engine(folder: Path, facts: dict[str, object]) -> Path:
    path = folder / "street.int8.rtx.engine"
    path.write_bytes(b"stands for an engine")
    card = replace(CARD, precision="int8", details={"calibration": {"int8_for": "rtx"}})
    write_sidecar(path, card, {"package": "rtx", "version": "1.7.1", PLAN: facts})
    return path


def test_a_row_says_what_the_plan_of_an_engine_says(tmp_path: Path) -> None:
    engine(tmp_path, FACTS)
    (row,) = costs(tmp_path)
    assert row["weighted_layers"] == {"int8 to fp16": 2, "fp16 to fp16": 1}
    assert (row["int8_for"], row["kernels"], row["megabytes"]) == ("rtx", 3, 2)
    assert row["ms_on_rtx-4090"] == [0.1, 0.2]


def test_an_engine_without_an_estimate_is_refused(tmp_path: Path) -> None:
    engine(tmp_path, {key: value for key, value in FACTS.items() if key != "estimate_ms"})
    with pytest.raises(InputError, match="has no estimate beside it"):
        costs(tmp_path)


def test_what_did_not_run_is_left_out(tmp_path: Path) -> None:
    stages = [
        {"name": "int8", "status": "passed", "measures": {"miou": 0.7, "ties": 3}},
        {"name": "int8.rtx", "status": "NOT RUN", "measures": {}},
    ]
    record = {"command": "refinenet verify …", "stages": stages}
    (tmp_path / "verify.json").write_text(json.dumps(record), encoding="utf-8")
    assert accuracy(tmp_path)["stages"] == {"int8": {"miou": 0.7}}


def test_a_folder_that_was_not_verified_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"verify\.json is missing; write it: refinenet verify"):
        accuracy(tmp_path)
