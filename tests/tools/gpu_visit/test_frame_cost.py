"""The figures of a visit, rehearsed on the strict GPU, whose times mean nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-python is not installed")

from stand_in.rehearsal import rehearsed
from strict_gpu import Gpu

from runtime.arguments import CHECK_FAILED, INVALID
from tools.gpu_visit import bare_frame, frame_cost, growth
from tools.gpu_visit.frame_cost import GPU_MS, LOADS, FrameCost, main, missed
from tools.gpu_visit.growth import Growth

GOOD = FrameCost(
    "spin", 1.0, 1.0, 1.1, 5, 80, {"p50": 1200, "p90": 1210, "p99": 1300}, 20, 960, 0.96
)
STILL = Growth(10_000, 3.0, 0.0, 0.5)


@pytest.fixture
def rehearsal(monkeypatch: pytest.MonkeyPatch, shared: Path) -> Iterator[Gpu]:
    del shared  # it has TensorRT's names
    with rehearsed(Gpu(), monkeypatch) as device:
        from runtime.cuda import cuda_python as cuda

        for module in (bare_frame, growth):
            monkeypatch.setattr(module, "driver", cuda.driver)
        monkeypatch.setattr(frame_cost, "SHAPE", (1, 16, 16, 3))
        yield device


@pytest.mark.usefixtures("rehearsal")
def test_every_load_is_measured_at_every_gpu_time(tmp_path: Path) -> None:
    file = tmp_path / "frame-cost.json"
    code = main(["--frames", "4", "--endurance", "200", "--json", str(file)])
    record = json.loads(file.read_text())
    assert record["card"]["name"] == "Strict GPU"
    assert [(cost["load"], cost["aimed_ms"]) for cost in record["costs"]] == [
        (load, ms) for load in LOADS for ms in GPU_MS
    ]
    for cost in record["costs"]:
        assert min(cost["network_ms"], cost["frame_ms"]) > 0  # no more: it is a simulation's time
        assert cost["stream_fps"] > 0
    assert record["growth"]["frames"] == 200
    assert code == (CHECK_FAILED if record["missed"] else 0)


@pytest.mark.usefixtures("rehearsal")
def test_wrong_masks_end_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.cuda import cuda_python as cuda

    monkeypatch.setattr(cuda, "copy_to_device", lambda *_: None)
    assert main(["--frames", "4", "--endurance", "10"]) == INVALID


def test_what_misses_no_aim_is_not_named() -> None:
    assert missed([GOOD], STILL) == []


@pytest.mark.parametrize(
    ("cost", "grown", "words"),
    [
        (replace(GOOD, beyond_us=50.1), STILL, "50.1 us beyond"),
        (replace(GOOD, share=0.949), STILL, "94.9% of the GPU's rate"),
        (GOOD, replace(STILL, gpu_mib=17.0), r"\+17 MiB on the GPU"),
        (GOOD, replace(STILL, host_mib=65.0), r"\+65 MiB on the host"),
    ],
)
def test_every_missed_aim_is_named(cost: FrameCost, grown: Growth, words: str) -> None:
    (found,) = missed([cost], grown)
    assert words.replace("\\", "") in found


def test_a_short_network_may_have_a_smaller_share() -> None:
    assert missed([replace(GOOD, aimed_ms=0.5, share=0.5)], STILL) == []
