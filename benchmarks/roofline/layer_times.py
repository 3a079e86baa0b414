"""How long each layer of an ONNX file takes in ONNX Runtime on the CPU, by its own profiler."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.records.measurements import LayerTime
from runtime.onnx.graph_macs import macs_of

RUNS = 5
SEED = 0
# Below this share of the whole, layers are summed in one line: an INT8 file has hundreds.
SMALLEST_SHARE = 0.002
KERNEL = "_kernel_time"


def layer_times(
    path: Path, frame_size: tuple[int, int], threads: int | None = None, batch: int = 1
) -> tuple[LayerTime, ...]:
    """The layers that ONNX Runtime made of the file, in the order in which they ran.

    frame_size: (height, width) of the frames. threads: as of the backends. batch: frames in a call.

    Returns the median of several calls for each layer; MACs and bytes follow from the shapes that
    it ran on. The smallest layers are one entry at the end.
    """
    with TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        if threads is not None:
            options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        frame = session.get_inputs()[0]
        # What the frame shows changes nothing: every layer does the same work on any values.
        pixels = np.random.default_rng(SEED).integers(0, 256, (batch, *frame_size, 3), np.uint8)
        for _ in range(1 + RUNS):
            session.run(None, {frame.name: pixels})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return _small_ones_summed(_layers(events))


def _layers(events: Sequence[Mapping[str, Any]]) -> list[LayerTime]:
    """One entry for each kernel, its first run left out as warm-up."""
    runs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(KERNEL):
            runs.setdefault((event["name"], event["args"]["node_index"]), []).append(event)
    return [_layer(name, entries[1:]) for (name, _), entries in runs.items()]


def _layer(name: str, runs: Sequence[Mapping[str, Any]]) -> LayerTime:
    facts = runs[0]["args"]
    operator = facts["op_name"]
    sizes = ("activation_size", "parameter_size", "output_size")
    try:
        macs = macs_of(operator, _shapes(facts["input_type_shape"]), _first_output(facts))
    except (KeyError, IndexError):  # an operator of ONNX Runtime's own, such as ReorderInput
        macs = 0
    return LayerTime(
        name=f"{operator} {name.removesuffix(KERNEL)}",
        ms=round(median(run["dur"] for run in runs) / 1e3, 3),
        macs=macs,
        bytes=sum(int(facts[size]) for size in sizes),
    )


def _first_output(facts: Mapping[str, Any]) -> Sequence[int]:
    return _shapes(facts["output_type_shape"])[0]


def _shapes(entries: Iterable[Mapping[str, Sequence[int]]]) -> list[Sequence[int]]:
    """The profiler writes each tensor as {"float": [1, 3, 360, 480]}."""
    return [shape for entry in entries for shape in entry.values()]


def _small_ones_summed(layers: Sequence[LayerTime]) -> tuple[LayerTime, ...]:
    least_ms = SMALLEST_SHARE * sum(layer.ms for layer in layers)
    large = [layer for layer in layers if layer.ms >= least_ms]
    small = [layer for layer in layers if layer.ms < least_ms]
    if not small:
        return tuple(large)
    rest = LayerTime(
        name=f"{len(small)} smaller layers",
        ms=round(sum(layer.ms for layer in small), 3),
        macs=None,  # of many kinds: their sum would stand for no layer
        bytes=None,
    )
    return (*large, rest)
