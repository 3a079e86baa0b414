"""What a server costs: measured against a real one; the docs show the committed record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import write_model
from triton_server import TritonServer

from export.serving.repository import triton_repository
from export.serving.serving_plan import PYTHON, TritonOptions
from runtime.errors import CheckFailed
from runtime.frames import read_frame
from tools.serving_cost import FILE, MEMORY, MESSAGE, PARTS, main, serving_cost


@pytest.mark.serving
def test_every_way_is_timed_and_the_server_counts_along(
    tmp_path: Path, photo: Path, start_triton: Callable[[Path], TritonServer]
) -> None:
    model = write_model(tmp_path / "toy.onnx")
    options = TritonOptions(tmp_path / "models", backend=PYTHON)
    address = start_triton(triton_repository(model, options).parent).address("toy")
    file = tmp_path / "record.json"
    given = ["--images", photo, "--rounds", "2", "--json", file]
    assert main([str(part) for part in (model, address, *given)]) == 0
    costs = {cost["case"]: cost for cost in json.loads(file.read_text())["costs"]}
    assert set(costs) == {FILE, MESSAGE, MEMORY}
    assert all(len(cost["latency_ms"]) == 2 for cost in costs.values())
    for case in (MESSAGE, MEMORY):
        assert set(costs[case]["server_ms"]) == set(PARTS)
        assert 0 < costs[case]["server_ms"]["compute_infer"] < max(costs[case]["latency_ms"])
    other = write_model(tmp_path / "other.onnx", convolved=True)
    with pytest.raises(CheckFailed, match="does not serve"):
        serving_cost(other, address, [read_frame(photo)], 1, None)
