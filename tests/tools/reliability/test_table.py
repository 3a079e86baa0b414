"""docs/reliability.md says what the committed record says."""

from __future__ import annotations

import json

from tools.reliability.table import BEGIN, END, PAGE, RECORD, page_with, tables

ROW = {
    "stage": "files",
    "command": "segment",
    "what": "image",
    "tried": 3,
    "ends": {"exit 0": 1, "exit 2": 2},
    "faults": ["half: a traceback"],
}
CONTENT = {
    "command": "python -m tools.reliability",
    "utc": "2026-01-01",
    "seconds": 60,
    "commit": "abc",
    "system": "Linux",
    "python": "3.11",
    "memory_bound_gib": 2.0,
    "not_run": ["kills"],
    "rows": [ROW],
}


def test_the_page_holds_the_record() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_with(json.loads(RECORD.read_text(encoding="utf-8")), page)


def test_a_fault_is_in_the_table_and_so_is_what_did_not_run() -> None:
    text = tables(CONTENT)
    assert "| segment | image | 3 | 2 | 1 | 1 |" in text
    assert "NOT RUN: kills." in text


def test_the_page_is_replaced_between_its_markers_alone() -> None:
    page = page_with(CONTENT, f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "old" not in page
