"""CONTRIBUTING.md and docs/architecture.md name files that exist, and their promises hold."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
ROWS = [line for line in CONTRIBUTING.splitlines() if line.startswith("| a ")]
ARCHITECTURES = ("refinenet.networks", "refinenet.backbones")


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip() for row in ROWS])
def test_every_file_of_a_row_exists(row: str) -> None:
    files = re.findall(r"`(\w+/[\w/]+\.(?:py|md))`", row)
    assert len(files) >= 2
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert any(file.startswith("tests/") for file in files)


def test_every_path_of_the_architecture_exists() -> None:
    paths = re.findall(
        r"`((?:refinenet|export|runtime|benchmarks|tools|tests)/[\w/.]*)`", ARCHITECTURE
    )
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


def architectures_in(path: Path) -> set[str]:
    """What a file imports of networks and backbones, but for what all of them have in common."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(ARCHITECTURES)
        for alias in node.names
    } - {"Backbone", "ResidualBlock", "pooling_in"}


def test_only_the_rows_of_the_variants_name_a_network_or_a_backbone() -> None:
    naming = {
        str(path.relative_to(ROOT))
        for room in ("refinenet", "export", "runtime", "benchmarks")
        for path in (ROOT / room).rglob("*.py")
        if architectures_in(path)
    }
    outside = {name for name in naming if not name.replace("/", ".").startswith(ARCHITECTURES)}
    assert outside == {"refinenet/variants.py"}
    assert {"RefineNet", "ResNet"} <= architectures_in(ROOT / "refinenet/variants.py")
