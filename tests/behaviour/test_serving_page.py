"""docs/serving.md shows the committed records."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks/results"
GRAPHS = {
    "cheap": "casts and an argmax alone",
    "network": "`lw-mobilenetv2-camvid`, fp32",
}


def record(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def server_table() -> str:
    rows = []
    for name, graph in GRAPHS.items():
        for cost in record(f"serving-{name}")["costs"]:
            computed = cost["server_ms"].get("compute_infer")
            model = "" if computed is None else f"{computed:.2f}"
            rows.append(
                f"| {graph} | {cost['case']} | {median(cost['latency_ms']):.2f} | {model} |"
            )
    head = "| graph | way of a frame | median ms | of it in the model, mean ms |"
    return "\n".join([head, "|---|---|---:|---:|", *rows])


def folder_table() -> str:
    rows = [
        f"| {cost['case']} | {cost['processes']} x {cost['threads']} "
        f"| {', '.join(f'{seconds:.1f}' for seconds in cost['seconds'])} |"
        for cost in record("folder")["costs"]
    ]
    head = "| way | processes x threads | seconds |"
    return "\n".join([head, "|---|---|---|", *rows])


@pytest.mark.parametrize(("mark", "table"), [("serving", server_table), ("ray", folder_table)])
def test_the_tables_come_from_the_committed_records(mark: str, table: Any) -> None:
    shown = PAGE.split(f"<!-- {mark}:begin -->")[1].split(f"<!-- {mark}:end -->")[0]
    assert table() in shown


@pytest.mark.parametrize("name", ["serving-cheap", "serving-network", "folder"])
def test_the_page_says_on_what_machine(name: str) -> None:
    load = record(name)["before"]["load_average"]
    assert f"{name}.json" in PAGE
    assert f"{load:.0f}" in PAGE
    assert record(name)["environment"]["commit_is_dirty"] is False


if __name__ == "__main__":
    print(server_table(), folder_table(), sep="\n\n")
