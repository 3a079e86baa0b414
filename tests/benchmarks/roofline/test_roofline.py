"""The work of a graph, the layers of a run, and the limit that follows from both."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from benchmarks.records.measurements import Measurement, Peak, Round
from benchmarks.records.record import Record
from benchmarks.roofline import machine_peak
from benchmarks.roofline.graph_cost import graph_cost
from benchmarks.roofline.layer_times import layer_times
from benchmarks.roofline.limits import limit_of, peak_for
from benchmarks.roofline.machine_peak import cpu_peak
from benchmarks.roofline.measure_roofline import with_roofline
from refinenet.variants import create_model
from runtime.errors import InputError
from runtime.files import sha256_of

# For 512x512 and 21 classes, in thousand millions, counted on PyTorch ports of these networks.
KNOWN_GMACS = {"refinenet-101": 262.9, "lw-50": 32.0, "lw-mobilenetv2": 8.6}
SIDE = 64  # these networks are convolutions throughout: 512x512 is 64 times the work


@pytest.mark.parametrize(
    "variant",
    [pytest.param("refinenet-101", marks=pytest.mark.slow), "lw-50", "lw-mobilenetv2"],
)
def test_macs_are_those_known_of_the_network(variant: str, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    network, example = create_model(variant, 21).eval(), torch.zeros(1, 3, SIDE, SIDE)
    with warnings.catch_warnings():  # the older exporter is deprecated, and ten times as fast
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (example,), path, dynamo=False, opset_version=19)
    gmacs = (512 // SIDE) ** 2 * graph_cost(path).macs / 1e9
    assert gmacs == pytest.approx(KNOWN_GMACS[variant], abs=0.05)


def one_convolution(path: Path, shape: tuple[int | str, ...], operator: str = "Conv") -> Path:
    """8 maps from 4, a 3x3 kernel in 2 groups, no padding; frames and masks are its ends."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["frames", "weights"], ["masks"], group=2)],
        "one",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("masks", TensorProto.FLOAT, None)],
        [helper.make_tensor("weights", TensorProto.FLOAT, (8, 2, 3, 3), [0.0] * 144)],
    )
    opsets = [helper.make_opsetid("", 19)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opsets), path)
    return path


def test_macs_and_bytes_of_one_convolution(tmp_path: Path) -> None:
    cost = graph_cost(one_convolution(tmp_path / "one.onnx", (2, 4, 10, 12)))
    assert cost.macs == 2 * 8 * 8 * 10 * (2 * 3 * 3)
    assert cost.bytes == 4 * (2 * 4 * 10 * 12 + 144 + 2 * 8 * 8 * 10)
    assert cost.batch == 2


def test_a_transposed_convolution_costs_a_kernel_for_each_value_of_its_input(
    tmp_path: Path,
) -> None:
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["frames", "weights"], ["masks"], strides=[2, 2])],
        "one",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, (2, 4, 10, 12))],
        [helper.make_tensor_value_info("masks", TensorProto.FLOAT, (2, 3, 22, 26))],
        [helper.make_tensor("weights", TensorProto.FLOAT, (4, 3, 4, 4), [0.0] * 192)],
    )
    opsets = [helper.make_opsetid("", 19)]
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=opsets), tmp_path / "up.onnx")
    assert graph_cost(tmp_path / "up.onnx").macs == (2 * 4 * 10 * 12) * (3 * 4 * 4)


def test_a_graph_of_any_size_costs_what_one_of_that_size_costs(tmp_path: Path, model: Path) -> None:
    proto, free = onnx.load(model), tmp_path / "free.onnx"
    for value in (*proto.graph.input, *proto.graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, "NHW", strict=False):
            dim.dim_param = name
    onnx.save(proto, free)
    assert graph_cost(free, (24, 32)).bytes == graph_cost(model).bytes == 24 * 32 * (3 + 1)
    with pytest.raises(InputError, match="takes frames of any size; say which"):
        graph_cost(free)


def test_an_operator_of_unknown_work_is_refused(tmp_path: Path, model: Path) -> None:
    proto = onnx.load(model)
    proto.graph.node[1].op_type = "ArgMin"
    onnx.save(proto, tmp_path / "odd.onnx")
    with pytest.raises(InputError, match="ArgMin"):
        graph_cost(tmp_path / "odd.onnx")


@pytest.mark.parametrize("content", [b"no protobuf", b"\x08"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"odd\.onnx"):
        graph_cost(path)


def test_layers_have_the_work_of_the_graph(model: Path) -> None:
    layers = layer_times(model, (24, 32))
    assert {layer.name.split()[0] for layer in layers} >= {"ArgMax"}
    assert sum(layer.ms for layer in layers) > 0
    assert sum(layer.macs or 0 for layer in layers) == graph_cost(model).macs == 0


def test_the_limit_is_the_slower_of_computing_and_moving() -> None:
    peak = Peak("cpu", "fp32", macs_per_second=1e9, bytes_per_second=1e6)
    assert limit_of(2 * 10**9, 10, peak) == pytest.approx(2000)
    assert limit_of(10, 3 * 10**6, peak) == pytest.approx(3000)


def test_a_gpu_is_held_to_the_peak_of_the_precision_and_a_cpu_to_its_only_one() -> None:
    peaks = [Peak("cpu", "fp32", 1, 1), Peak("cuda", "fp32", 2, 1), Peak("cuda", "int8", 3, 1)]
    assert peak_for(peaks, "cpu", "int8") == peaks[0]
    assert peak_for(peaks, "cuda", "int8") == peaks[2]
    assert peak_for(peaks, "cuda", "fp16") is None


def test_a_record_gets_the_roofline_of_the_files_it_came_from(
    record: Record, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_peak, "CPU_SIDE", 64)
    monkeypatch.setattr(machine_peak, "CPU_COPY_BYTES", 2**16)
    monkeypatch.setattr(machine_peak, "MIN_SECONDS", 0.01)
    torch_result, onnx_result, engine = record.results
    measured = replace(onnx_result.measurements[0], height=24, width=32)
    own = replace(onnx_result, sha256=sha256_of(model), measurements=(measured,))
    found = with_roofline(replace(record, results=(torch_result, own, engine)), [model])
    assert [result.roofline is not None for result in found.results] == [False, True, False]
    assert [peak.device for peak in found.peaks][:1] == ["cpu"]
    roofline = found.results[1].roofline
    assert roofline is not None
    assert roofline.layers
    assert roofline.share == pytest.approx(roofline.limit_ms / 5.0)


def test_the_roofline_runs_the_batch_that_was_measured(
    record: Record, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_peak, "CPU_SIDE", 64)
    monkeypatch.setattr(machine_peak, "CPU_COPY_BYTES", 2**16)
    monkeypatch.setattr(machine_peak, "MIN_SECONDS", 0.01)
    proto, four = onnx.load(model), tmp_path / "four.onnx"
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(proto, four)
    rounds = (Round((30.0,) * 10, 200.0, "enough"),)  # the calls overlap: 20 ms each by the wall
    offline = Measurement("offline", 4, 4, 24, 32, rounds, "rounds")
    own = replace(record.results[1], sha256=sha256_of(four), measurements=(offline,))
    (found,) = with_roofline(replace(record, results=(own,)), [four]).results
    assert found.roofline is not None
    assert found.roofline.layers
    assert found.roofline.share == pytest.approx(found.roofline.limit_ms / (20.0 / 4))


def test_the_peak_is_the_fastest_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_peak, "CPU_SIDE", 64)
    monkeypatch.setattr(machine_peak, "CPU_COPY_BYTES", 2**16)
    monkeypatch.setattr(machine_peak, "MIN_SECONDS", 0.01)
    peak = cpu_peak(threads=1)
    assert peak.macs_per_second > 1e6
    assert peak.bytes_per_second > 1e6
