"""Real plans of TensorRT-RTX: their work is the graph's, and INT8's stands beside FP16's."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from export.building.plan_comparison import against_fp16, cost_line, of_another_runtime
from export.to_engine import EngineOptions, to_engine
from export.to_int8 import to_int8
from refinenet.__main__ import main
from refinenet.activation_ranges import load_ranges
from runtime.app.inspect import inspect_file
from runtime.card import Sidecar, read_card, read_sidecar, sidecar_path, write_sidecar
from runtime.engine.gpu_sheets import GPUS
from runtime.engine.plan import TOLERANCE, Plan, read_plan
from runtime.engine.plan_facts import PLAN
from runtime.onnx.graph_macs import graph_macs
from tools.variants.generated_weights import write_generated

pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")

RTX = EngineOptions(runtime="rtx", quiet=True)


def told(engine: Path) -> Sidecar:
    sidecar = read_sidecar(engine)
    assert sidecar is not None
    return sidecar


def plan_of(engine: Path) -> Plan:
    plan = read_plan(engine)
    assert plan is not None
    return plan


def check_plans(folder: Path, name: str) -> None:
    """The plans of NAME.fp16 and NAME.int8 do their graphs' work, each in its own types."""
    for precision in ("fp16", "int8"):
        engine = folder / f"{name}.{precision}.rtx.engine"
        plan, macs = plan_of(engine), graph_macs(folder / f"{name}.{precision}.onnx")
        assert macs is not None
        assert abs(plan.macs - macs) <= TOLERANCE * macs
        facts = told(engine).build[PLAN]
        assert facts["graph_macs"] == macs
        assert facts["kernels"] == len(plan.kernels)
        assert len(facts["weighted_layers"]) == len(plan.weighted)
        assert facts["estimate_ms"].keys() == GPUS.keys()
        assert precision in {kernel.reads for kernel in plan.weighted}


def test_the_shipped_networks_plans_do_the_work_of_their_graphs(built: Path) -> None:
    check_plans(built, "street")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["lw-50", "refinenet-50"])
def test_refinenets_plans_do_the_work_of_their_graphs(
    variant: str, tmp_path: Path, photo: Path, photo_frame: object
) -> None:
    weights = write_generated(variant, tmp_path / "net.safetensors", photo_frame)  # type: ignore[arg-type]
    options = f"--size 96x128 --calibration {photo} --quiet --output {tmp_path}"
    assert main(["export", str(weights), *options.split()]) == 0
    for precision in ("fp16", "int8"):
        to_engine(tmp_path / f"net.{precision}.onnx", RTX)
    check_plans(tmp_path, "net")


def test_int8_beside_fp16_is_told_with_a_warning_where_it_costs_more(
    built: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "street"))
    engine = folder / "street.int8.rtx.engine"
    sidecar = told(engine)
    facts = sidecar.build[PLAN]
    for factor, warns in ((100.0, True), (0.01, False)):
        scaled = {name: [factor * ms for ms in r] for name, r in facts["estimate_ms"].items()}
        changed = {**sidecar.build, PLAN: {**facts, "estimate_ms": scaled}}
        write_sidecar(engine, sidecar.card, changed)
        lines = against_fp16(engine)
        assert "street.fp16.rtx.engine" in lines[0]
        assert [line for line in lines if line.startswith("warning")] == lines[1:]
        assert len(lines) == (2 if warns else 1)
        assert not warns or "rtx-4090" in lines[1]


def test_engines_of_another_size_are_not_compared(built: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "street"))
    engine = folder / "street.fp16.rtx.engine"
    assert len(against_fp16(folder / "street.int8.rtx.engine")) > 0
    sidecar = told(engine)
    larger = {**sidecar.build[PLAN], "graph_macs": 2 * sidecar.build[PLAN]["graph_macs"]}
    write_sidecar(engine, sidecar.card, {**sidecar.build, PLAN: larger})
    assert against_fp16(folder / "street.int8.rtx.engine") == []


@pytest.mark.parametrize("estimates", [None, [], {"rtx-4090": "fast"}, {"rtx-4090": [1]}])
def test_a_sidecar_without_estimates_that_can_be_read_is_passed_over(
    built: Path, tmp_path: Path, estimates: object
) -> None:
    folder = Path(shutil.copytree(built, tmp_path / "street"))
    engine = folder / "street.fp16.rtx.engine"
    sidecar = told(engine)
    facts = {**sidecar.build[PLAN], "estimate_ms": estimates}
    write_sidecar(engine, sidecar.card, {**sidecar.build, PLAN: facts})
    assert against_fp16(folder / "street.int8.rtx.engine") == []


def test_fp16_is_beside_nothing(built: Path) -> None:
    assert against_fp16(built / "street.fp16.rtx.engine") == []
    assert against_fp16(built / "street.fp32.rtx.engine") == []


def test_build_prints_the_estimate_and_inspect_every_kernel(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = built / "street.fp16.rtx.engine"
    low, high = told(engine).build[PLAN]["estimate_ms"]["rtx-4090"]
    line = cost_line(told(engine).build)
    assert f"{low:.3f} to {high:.3f} ms" in line
    assert "not measured" in line
    facts = inspect_file(engine)
    assert f"{low:.3f} to {high:.3f} ms" in facts["on rtx-4090"]
    assert main(["inspect", str(engine), "--gpu", "rtx-a4000"]) == 0
    out = capsys.readouterr().out
    assert len([x for x in out.splitlines() if x.startswith("  kernel ")]) == len(
        plan_of(engine).kernels
    )
    assert "data sheet" in out
    assert "rtx-4090" not in out


@pytest.mark.slow
def test_a_dynamic_engine_has_no_estimate(dynamic: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(dynamic, tmp_path))
    shutil.copy(sidecar_path(dynamic), tmp_path)
    engine = to_engine(path, RTX)
    facts = told(engine).build[PLAN]
    assert "estimate_ms" not in facts
    assert facts["not_understood"]
    assert inspect_file(engine, gpu="rtx-4090")["estimate"].startswith("none")


@pytest.mark.parametrize("arguments", [["street.fp16.onnx"], ["street.fp16.rtx.engine", "gtx-1"]])
def test_gpu_needs_a_plan_and_a_data_sheet(
    built: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, gpu = [*arguments, "rtx-4090"][:2]
    assert main(["inspect", str(built / name), "--gpu", gpu]) == 2
    assert "rtx" in capsys.readouterr().err


def test_the_sidecar_stays_plain_json(built: Path) -> None:
    engine = built / "street.int8.rtx.engine"
    content = json.loads(sidecar_path(engine).read_text(encoding="utf-8"))
    assert PLAN in content["build"]
    assert read_card(engine).precision == "int8"


def test_build_warns_of_int8_weights_for_the_other_runtime(built: Path) -> None:
    card = read_card(built / "street.int8.onnx")
    assert of_another_runtime(card, "rtx") == ""
    assert "--int8-for tensorrt" in of_another_runtime(card, "tensorrt")
    calibration = {k: v for k, v in card.details["calibration"].items() if k != "int8_for"}
    older = replace(card, details={**card.details, "calibration": calibration})
    assert "--int8-for rtx" in of_another_runtime(older, "rtx")
    assert of_another_runtime(read_card(built / "street.fp16.onnx"), "tensorrt") == ""


def test_one_scale_lets_rtx_fuse_what_follows(built: Path, tmp_path: Path) -> None:
    ranges = load_ranges(built / "street.ranges.json")
    for runtime, written in (("rtx", "fp16"), ("tensorrt", "fp32")):
        path = tmp_path / f"{runtime}.int8.onnx"
        to_int8(built / "street.fp32.onnx", path, ranges, int8_for=runtime)
        layers = [k for k in plan_of(to_engine(path, RTX)).weighted if k.reads == "int8"]
        assert len(layers) == 49
        assert {kernel.writes for kernel in layers} == {written}
