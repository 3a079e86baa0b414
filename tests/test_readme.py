"""The README says what the repository does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.record import read_record
from benchmarks.report import BEGIN, END, tables
from refinenet.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORD = ROOT / "benchmarks/results/cpu.json"


def commands_of_the_demo() -> list[str]:
    lines = (ROOT / "demo/run.sh").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("run ") for line in lines if line.startswith("run refinenet")]


def test_the_commands_of_the_readme_are_those_of_the_demo() -> None:
    shown = [line for line in README.splitlines() if line.startswith("refinenet ")]
    assert shown == commands_of_the_demo()


def test_every_command_is_named() -> None:
    named = set(re.findall(r"`refinenet (\w+)`(?:, `(\w+)`)?", README))
    assert {name for names in named for name in names if name} == COMMANDS.keys()


def test_the_table_comes_from_the_committed_record() -> None:
    table = README.split(BEGIN)[1].split(END)[0].strip()
    assert table == tables([read_record(RECORD)]).strip()


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?:)([^)#]+)\)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
