"""Python's share per frame: measured with CUDA that does nothing, and recorded as such."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")

from runtime.cuda import cuda_python as cuda
from tools import python_share


def test_every_case_is_measured_and_recorded(tmp_path: Path) -> None:
    file = tmp_path / "share.json"
    before = cuda.cudart, cuda.driver
    arguments = ["--rounds", "2", "--frames", "3", "--note", "a test", "--json", str(file)]
    code = python_share.main(arguments)
    assert (cuda.cudart, cuda.driver) == before
    record = json.loads(file.read_text())
    assert record["what"].startswith("null CUDA")
    assert record["note"] == "a test"
    assert record["median_us"].keys() == python_share.CASES.keys()
    assert all(len(values) == 2 for values in record["cpu_us"].values())
    assert record["median_us"]["graph"] > record["median_us"]["copies alone"] > 0
    assert code == (1 if record["median_us"]["graph"] > record["limit_us"] else 0)


def test_more_than_the_limit_is_a_failed_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(python_share, "LIMIT_US", 0.5)
    assert python_share.main(["--rounds", "1", "--frames", "1"]) == 1
    assert "us; at most 0.5" in capsys.readouterr().err


def test_the_committed_record_keeps_the_limit() -> None:
    file = Path(__file__).resolve().parents[2] / "benchmarks/results/python-share.json"
    record = json.loads(file.read_text())
    assert record["median_us"]["graph"] <= record["limit_us"] == python_share.LIMIT_US
