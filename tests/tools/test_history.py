"""Histories of figures: lines are added and never changed; and what a command costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import InputError
from tools.claims import main
from tools.export_cost import command_cost
from tools.history import FOLDER, Entry, append

ENTRY = Entry(
    utc="2026-11-23T02:10:00+00:00",
    commit="0123",
    commit_is_dirty=False,
    machine="A CPU, 2 cores",
    load_average=0.5,
    command="python -m tools.claims",
    workload="four convolutions",
    workload_ms=3.25,
    figures={"export_seconds": 12.5},
)


def test_entries_are_added_at_the_end_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "history/claim.jsonl"
    later = replace(ENTRY, figures={"export_seconds": 11.0})
    append(path, ENTRY)
    before = path.read_bytes()
    append(path, later)
    assert path.read_bytes().startswith(before)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [Entry(**json.loads(line)) for line in lines] == [ENTRY, later]


def test_a_history_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "claim.jsonl").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        append(tmp_path / "claim.jsonl", ENTRY)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_committed_line_is_of_a_commit_as_it_stood(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = Entry(**json.loads(line))
        assert (entry.commit_is_dirty, bool(entry.commit)) == (False, True)
        assert all(value > 0 for value in entry.figures.values())


def test_a_command_costs_time_and_memory() -> None:
    cost = command_cost(("inspect", "--help"))
    assert cost.wall_s > 0
    assert cost.peak_bytes > 5e6


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"refinenet build .*missing\.onnx"):
        command_cost(("build", str(tmp_path / "missing.onnx")))


@pytest.mark.parametrize(
    "arguments", [["no-claim"], ["--variants", "no-variant"], ["--rounds", "0"]]
)
def test_wrong_claims_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
