"""Tiny models that give masks, photos to give them, and a record made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.records.machine import Environment, Gpu, GpuState, MachineState
from benchmarks.records.measurements import Accuracy, Agreement, Measurement, Memory, Round
from benchmarks.records.record import Conditions, Record, Result, Size
from runtime.card import CARD_KEY, Card, write_sidecar

HEIGHT, WIDTH = 24, 32

CARD = Card(
    variant="lw-mobilenetv2",
    classes=("blue", "green", "red"),
    palette=((0, 0, 255), (0, 255, 0), (255, 0, 0)),
    channel_order="BGR",
    input_shape=(1, HEIGHT, WIDTH, 3),
    output_kind="mask",
)


def brightest_channel_model(path: Path, card: Card = CARD) -> Path:
    """An ONNX file with its card whose mask is the index of each pixel's brightest channel."""
    sizes = card.input_shape or (1, HEIGHT, WIDTH, 3)
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, sizes)
    masks = helper.make_tensor_value_info("masks", TensorProto.UINT8, sizes[:3])
    nodes = [
        helper.make_node("Cast", ["frames"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["levels"], ["index"], axis=3, keepdims=0),
        helper.make_node("Cast", ["index"], ["masks"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(nodes, "brightest", [frames], [masks])
    opsets = [helper.make_opsetid("", 19)]
    model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    helper.set_model_props(model, {CARD_KEY: card.to_json()})
    onnx.save(model, path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return brightest_channel_model(tmp_path / "tiny.fp32.onnx")


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine of a TensorRT-RTX that never was, so that no machine can run it."""
    path = tmp_path / "tiny.fp16.rtx.engine"
    path.write_bytes(b"not an engine")
    build = {"package": "rtx", "version": "0.0.0", "compute_capabilities": ["sm_86"]}
    write_sidecar(path, replace(CARD, precision="fp16"), build)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three small pictures, of another size than the model's."""
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png", "c.png"):
        coarse = generator.integers(0, 256, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / name), cv2.resize(coarse, (64, 48)))
    return folder


CONDITIONS = Conditions(
    scenarios=("single",),
    batches=(1,),
    sizes=(Size(360, 480),),
    images=("a.jpg", "b.jpg"),
    classes=("sky", "road"),
    labels="camvid val, 101 images",
    reference="PyTorch eager",
    threads=2,
    rounds=2,
    stable_within=0.02,
    limit_seconds=60.0,
    seconds=3.0,
    minimum_count=10,
    cap_seconds=30.0,
    warm_up_ms=200.0,
    latency_bound_ms=None,
    streams=None,
    seed=0,
    workloads={"cpu": "a fixed stack of convolutions"},
)

ENVIRONMENT = Environment(
    system="Linux-6.1",
    python="3.11.9",
    cpu="A CPU",
    cores=2,
    versions={"torch": "2.13.0", "numpy": "2.4.6"},
    commit="0123456789abcdef",
    commit_is_dirty=True,
    gpus=(Gpu("A GPU", "580.65", "sm_86", 16 * 2**30, None),),
)

BEFORE = MachineState(
    utc="2026-11-23T02:10:00+00:00",
    load_average=0.25,
    cpu_clock_mhz=2400.0,
    gpus=(GpuState(2100.0, 7000.0, 31.5, 40.0, 2**30, ()),),
    jetson=None,
)

AFTER = replace(
    BEFORE,
    utc="2026-11-23T02:12:00+00:00",
    gpus=(GpuState(1500.0, 7000.0, 140.0, 83.0, 2**31, ("sw_thermal_slowdown",)),),
)


def single_stream(*rounds: Round) -> Measurement:
    """The rounds of a single stream at the record's size."""
    return Measurement("single", 1, 1, 360, 480, rounds, "rounds")


TORCH = Result(
    name="PyTorch eager",
    precision="fp32",
    description="PyTorch 2.13.0, CPU",
    device="cpu",
    file="tiny.safetensors",
    sha256="11",
    size_bytes=6_900_000,
    card_sha256="aa",
    build_seconds=None,
    load_ms=12.5,
    first_frame_ms=99.125,
    memory=Memory(50_000_000, None),
    accuracies=(Accuracy(360, 480, None, 0.65432, (0.8, 0.5)),),
    measurements=(
        single_stream(
            Round((10.0, 20.0), 40.0, "enough", 60.0, (5.0, 5.5), (8.0, 8.0)),
            Round((30.0, 40.001), 60.0, "cap", 80.0, (5.0, 6.0), (8.0, 9.0)),
        ),
    ),
)

ONNX = Result(
    name="ONNX Runtime CPU",
    precision="int8",
    description="ONNX Runtime 1.31.1, CPU",
    device="cpu",
    file="tiny.int8.onnx",
    sha256="22",
    size_bytes=3_400_000,
    card_sha256="bb",
    build_seconds=None,
    load_ms=5.0,
    first_frame_ms=8.0,
    memory=Memory(20_000_000, None),
    accuracies=(Accuracy(360, 480, Agreement(999_999, 1_000_000), None),),
    measurements=(
        single_stream(
            Round((5.0,) * 2000, 10_000.0, "enough", 15_000.0, (5.0, 5.0), (8.0, 8.0)),
        ),
    ),
)

ENGINE = Result(
    name="TensorRT-RTX",
    precision="fp16",
    description="",
    device="cuda",
    file="tiny.fp16.rtx.engine",
    sha256="33",
    size_bytes=7_100_000,
    card_sha256="cc",
    build_seconds=3.5,
    load_ms=None,
    first_frame_ms=None,
    memory=None,
    accuracies=(),
    measurements=(),
    not_run="this machine has no GPU | see\nrefinenet doctor",
)

RECORD = Record(
    command="refinenet benchmark build --images photos",
    conditions=CONDITIONS,
    environment=ENVIRONMENT,
    before=BEFORE,
    after=AFTER,
    results=(TORCH, ONNX, ENGINE),
)


@pytest.fixture
def record() -> Record:
    """A row measured in few frames, one measured in many, and one that did not run."""
    return RECORD
