"""docs/security.md lists the licence of every package in constraints.txt.

`python tests/behaviour/test_licenses.py` writes the list anew.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/security.md"
BEGIN, END = "<!-- licenses:begin -->", "<!-- licenses:end -->"


def pinned() -> list[tuple[str, str]]:
    """(package, version) of constraints.txt, in its order."""
    return re.findall(r"^([\w.-]+)==([^;\s]+)", (ROOT / "constraints.txt").read_text(), re.M)


def licence(package: str) -> str | None:
    """As the installed package states it: SPDX, or else its classifier, or else its first line."""
    try:
        facts = metadata(package)
    except PackageNotFoundError:
        return None
    classifiers = [c for c in facts.get_all("Classifier") or [] if c.startswith("License")]
    stated = facts.get("License-Expression") or next(iter(classifiers), facts.get("License") or "")
    return stated.strip().splitlines()[0].rpartition(" :: ")[2]


def table() -> str:
    rows = [f"| {package} | {version} | {licence(package)} |" for package, version in pinned()]
    return "\n".join(["| package | version | licence |", "|---|---|---|", *rows])


def test_every_pinned_package_is_listed_with_its_licence() -> None:
    listed = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    for package, version in pinned():
        stated = licence(package)
        row = f"| {package} | {version} |"
        assert row in listed
        assert stated is None or f"{row} {stated} |" in listed  # None: not installed here


def test_a_package_that_is_not_there_has_no_licence() -> None:
    assert licence("surely-not-installed") is None


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")
