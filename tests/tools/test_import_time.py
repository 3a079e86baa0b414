"""`import runtime` costs next to nothing, and the measurement would see it if it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import import_time
from tools.import_time import BASE, ImportTimes, import_times, main

GENEROUS_MS = 100.0  # the limit is 30; tests run on busy machines
HEAVY = "torch"  # importing it takes longer than any limit


def test_importing_the_runtime_is_cheap_and_torch_is_not() -> None:
    times = import_times(3, {"base": BASE, "runtime": f"{BASE}, runtime"})
    # Once is enough: torch takes tenfold.
    heavy = import_times(1, {"base": BASE, HEAVY: f"{BASE}, {HEAVY}"})
    assert times.added_ms("runtime") < GENEROUS_MS < heavy.added_ms(HEAVY)


def test_the_record_holds_every_process_and_too_much_is_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cpu_ms = {"base": [200.0, 210.0, 190.0], "runtime": [231.0, 229.0, 300.0], "segmenter": [240.0]}
    monkeypatch.setattr(import_time, "import_times", lambda _: ImportTimes({}, cpu_ms, {}))
    path = tmp_path / "import-time.json"
    assert main(["--rounds", "3", "--json", str(path)]) == 1
    assert "import runtime adds 31.0 ms; at most 30" in capsys.readouterr().err
    content = json.loads(path.read_text())
    assert content["added_ms"] == {"runtime": 31.0, "segmenter": 40.0}
    assert content["cpu_ms"]["runtime"] == cpu_ms["runtime"]
