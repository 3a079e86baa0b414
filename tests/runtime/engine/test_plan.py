"""A plan's text becomes kernels with bytes, multiply-accumulates and types; and doubts are said."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.engine.gpu_sheets import GPUS
from runtime.engine.plan import Plan, read_plan
from runtime.engine.plan_estimate import (
    CACHE_OVER_MEMORY,
    LAUNCH_SECONDS,
    gpu_named,
    kernel_estimate,
    plan_estimate,
)
from runtime.errors import InputError

# Two convolutions in the words of a real plan of TensorRT-RTX 1.7. The first has 8 filters of 3x3
# over 4 channels, adds the map `around` and writes float; the second is depthwise. A kernel without
# weights stands between them.
HEAD = """header {
  version = 5
}
descriptors {
  tensor={ alignment=128 const_payload_size=288 dims={ 8 4 3 3 } name="w" offset=1 type=int8 }
  tensor={ alignment=128 const_payload_size=144 dims={ 8 1 3 3 } name="d" offset=2 type=half }
  tensor={ alignment=128 const_payload_size=4 dims={ 1 } name="alpha" offset=3 type=float }
  tensor={ alignment=128 dims={ 1 4 10 12 } name="x" offset=4 type=int8 }
  tensor={ alignment=128 dims={ 1 8 10 12 } name="around" offset=5 type=half }
  tensor={ alignment=128 dims={ 1 8 10 12 } name="y" offset=6 type=float }
  sub_tensor={ base="y" dims={ 1 8 10 12 } name="h^deref" offset=7 type=half }
  tensor={ alignment=128 dims={ 1 8 10 12 } name="z" offset=8 type=half }
}
"""
MAIN = """
main {
 label bb1:
  corrltn={ name="one" output={"y" } input={"x" "w" "alpha" "around" } layers="[ONNX Layer: conv_1]" }
  signal={ name="s" output={"y" } }
  function={ name=__myl_Cast args={ "y" "h^deref" } input_args={ "y" } output_args={ "h^deref" } layers="[ONNX Layer: conv_1][ONNX Layer: relu]" }
  corrltn={ name="two" output={"z" } input={"h^deref" "d" "alpha" } layers="[ONNX Layer: conv_2]" }
}
"""  # noqa: E501  # as TensorRT writes it
PLACES = 10 * 12
MACS = 8 * PLACES * (4 * 9) + 8 * PLACES * 9


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "street.int8.rtx.engine"
    path.write_bytes(b"\x00\x01" + HEAD.encode() + MAIN.encode() + b"\xff weights \x00")
    return path


@pytest.fixture
def plan(engine: Path) -> Plan:
    found = read_plan(engine)
    assert found is not None
    return found


def test_kernels_have_their_work(plan: Plan) -> None:
    one, cast, two = plan.kernels
    assert (one.name, cast.name, two.name) == ("conv_1", "conv_1", "conv_2")
    assert cast.nodes == ("conv_1", "relu")
    assert one.bytes == 288 + 4 * PLACES + 2 * 8 * PLACES + 4 * 8 * PLACES + 4
    assert cast.bytes == (4 + 2) * 8 * PLACES
    assert (one.macs, cast.macs, two.macs) == (8 * PLACES * 36, 0, 8 * PLACES * 9)
    assert (plan.macs, plan.bytes) == (MACS, one.bytes + cast.bytes + two.bytes)


def test_weighted_layers_say_what_they_read_and_write(plan: Plan) -> None:
    types = [(kernel.reads, kernel.writes) for kernel in plan.weighted]
    assert types == [("int8", "fp32"), ("fp16", "fp16")]
    assert (plan.kernels[1].reads, plan.kernels[1].writes) == ("fp32", "fp16")


def test_a_sum_is_fused_where_a_weighted_kernel_reads_a_second_map(plan: Plan) -> None:
    assert [kernel.fuses_sum for kernel in plan.kernels] == [True, False, False]
    assert plan.fused_sums == 1


@pytest.mark.parametrize(("share", "believed"), [(1.0, True), (1.019, True), (1.03, False)])
def test_a_plan_is_believed_where_its_work_is_the_graphs(
    plan: Plan, share: float, believed: bool
) -> None:
    assert (plan.doubt(round(MACS * share)) == "") is believed


def test_what_confirms_nothing_is_doubted(plan: Plan) -> None:
    assert "ONNX file" in plan.doubt(None)


@pytest.mark.parametrize(
    ("text", "with_"),
    [('dims={ 1 8 10 12 } name="z"', 'dims={ -1 8 10 12 } name="z"'), ("type=half", "type=fp4e2")],
)
def test_open_sizes_and_unknown_types_are_doubted(engine: Path, text: str, with_: str) -> None:
    engine.write_bytes(engine.read_bytes().replace(text.encode(), with_.encode()))
    found = read_plan(engine)
    assert found is not None
    assert found.doubt(MACS)


@pytest.mark.parametrize("content", [b"", b"weights", b"\nmain {\n nothing known\n}\n"])
def test_a_file_without_a_program_is_no_plan(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.engine"
    path.write_bytes(content)
    assert read_plan(path) is None


def test_the_estimate_is_the_longer_of_moving_and_computing(plan: Plan) -> None:
    gpu = GPUS["rtx-4090"]
    one = plan.kernels[0]
    found = kernel_estimate(one, gpu)
    assert found.in_memory == pytest.approx(1e3 * (one.bytes / gpu.memory + LAUNCH_SECONDS))
    assert found.cached == pytest.approx(
        1e3 * (one.bytes / gpu.memory / CACHE_OVER_MEMORY + LAUNCH_SECONDS)
    )
    whole = plan_estimate(plan, gpu)
    assert whole.in_memory == pytest.approx(
        sum(kernel_estimate(kernel, gpu).in_memory for kernel in plan.kernels)
    )


def test_computing_is_paid_at_the_rate_of_its_type(engine: Path) -> None:
    # So many channels and places that moving them takes less than multiplying.
    text = engine.read_bytes().replace(b" 10 12 }", b" 1000 1200 }")
    text = text.replace(b"{ 1 4 ", b"{ 1 512 ").replace(b"{ 1 8 ", b"{ 1 512 ")
    engine.write_bytes(text.replace(b"{ 8 4 3 3 }", b"{ 512 512 3 3 }"))
    found = read_plan(engine)
    assert found is not None
    gpu, kernel = GPUS["rtx-4090"], found.kernels[0]
    seconds = 2 * kernel.macs / gpu.int8 + LAUNCH_SECONDS
    assert kernel_estimate(kernel, gpu).in_memory == pytest.approx(1e3 * seconds)


@pytest.mark.parametrize("name", GPUS)
def test_data_sheets_are_consistent_and_say_their_source(name: str) -> None:
    gpu = GPUS[name]
    workstation = name in ("rtx-a4000", "rtx-6000-ada")
    assert gpu.int8 == pytest.approx(2 * gpu.fp16_sum_fp16, rel=0.01)
    ratio = 1 if workstation else 2
    assert gpu.fp16_sum_fp16 == pytest.approx(ratio * gpu.fp16_sum_fp32, rel=0.01)
    assert gpu.source.startswith("NVIDIA")


def test_a_gpu_without_a_data_sheet_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(InputError, match=r"'gtx-1080'.*rtx-4090"):
        gpu_named("gtx-1080")
