"""The record of reliability.py as Markdown, in its place in docs/reliability.md.

python -m tools.reliability.table
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "benchmarks/results/reliability.json"
PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- reliability:begin -->", "<!-- reliability:end -->"
TITLES = {
    "surroundings": "streams, names, pictures, disks",
    "met": "what people brought",
    "fuzzing": "files damaged at random",
    "writes": "writes that fail",
    "kills": "kill -9 and run again",
    "together": "two at once in one folder",
    "cameras": "cameras that fail",
}


def page_with(record: Mapping[str, Any], page: str) -> str:
    """The page with the record's tables between its markers."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{tables(record)}\n{END}{rest.split(END)[1]}"


def tables(record: Mapping[str, Any]) -> str:
    rows = record["rows"]
    files = [row for row in rows if row["stage"] == "files"]
    others = [row for row in rows if row["stage"] != "files"]
    lines = [
        "| command | kind of file | tried | refused | carried out | faults |",
        "|---|---|---:|---:|---:|---:|",
        *map(_file_line, files),
        _total("**all**", files),
        "",
        "| | command | what | tried | faults |",
        "|---|---|---|---:|---:|",
        *map(_other_line, others),
        "",
        f"{sum(row['tried'] for row in rows)} tries in {record['seconds'] / 60:.0f} minutes on "
        f"{record['system']}, Python {record['python']}, {record['utc']}, "
        f"commit {record['commit']}. A fault would be a traceback, a hang of three minutes, more "
        f"than {record['memory_bound_gib']:g} GiB of memory, a half file, code that was run, or "
        "anything but one line and exit code 2 for what is refused.",
        "",
        f"    {record['command']}",
    ]
    if record["not_run"]:
        lines.insert(-2, f"\nNOT RUN: {', '.join(record['not_run'])}.")
    return "\n".join(lines)


def _file_line(row: Mapping[str, Any]) -> str:
    refused = sum(count for end, count in row["ends"].items() if end != "exit 0")
    cells = (row["command"], row["what"], row["tried"], refused, row["tried"] - refused)
    return f"| {' | '.join(map(str, cells))} | {len(row['faults'])} |"


def _other_line(row: Mapping[str, Any]) -> str:
    cells = (TITLES[row["stage"]], row["command"] or "reader", row["what"], row["tried"])
    return f"| {' | '.join(map(str, cells))} | {len(row['faults'])} |"


def _total(name: str, rows: Iterable[Mapping[str, Any]]) -> str:
    sums: Counter[str] = Counter()
    for row in rows:
        done = row["ends"].get("exit 0", 0)
        sums.update(tried=row["tried"], done=done, faults=len(row["faults"]))
    refused = sums["tried"] - sums["done"]
    return f"| {name} | | {sums['tried']} | {refused} | {sums['done']} | {sums['faults']} |"


if __name__ == "__main__":
    PAGE.write_text(page_with(json.loads(RECORD.read_text()), PAGE.read_text()))
