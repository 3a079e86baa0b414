"""A fixed piece of work, timed beside every round, so that records of different times compare.

A machine that is busy, hot or throttled slows the work and the backends alike: what a backend takes
in units of the work stays. The work must therefore never change; where it does, its description
must, and `refinenet compare` refuses to mix the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

# As a light-weight network does: pointwise and depthwise convolutions over maps that outgrow the
# caches next to a core and stay far below the one that cores share. Work of that cache's own size
# is another work in every process: where its pages come to lie decides how much of it stays there.
PAIRS, CHANNELS, HEIGHT, WIDTH = 4, 64, 90, 120
IMAGE = (1, CHANNELS, HEIGHT, WIDTH)
SEED = 0
CPU_WORK = (
    f"{PAIRS} pairs of a pointwise and a depthwise 3x3 convolution, {CHANNELS} channels, "
    f"{HEIGHT}x{WIDTH}, float32, in ONNX Runtime whose threads sleep while they wait"
)
GPU_SIDE, GPU_PRODUCTS = 2048, 8
GPU_WORK = f"{GPU_PRODUCTS} products of {GPU_SIDE}x{GPU_SIDE} matrices, float16, in PyTorch"


class ReferenceWorkload:
    """The work on one device. A call does it once and returns its milliseconds by the clock, and
    those that this process computed meanwhile.

    description: the work and the library that does it; the same words mean the same work.
    """

    def __init__(self, description: str, work: Callable[[], object]) -> None:
        self.description, self._work = description, work
        self()  # what is prepared on first use is not the work

    def __call__(self) -> tuple[float, float]:
        cpu_ns, start_ns = time.process_time_ns(), time.perf_counter_ns()
        self._work()
        wall_ns = time.perf_counter_ns() - start_ns
        return round(wall_ns / 1e6, 3), round((time.process_time_ns() - cpu_ns) / 1e6, 3)


def cpu_workload(threads: int | None) -> ReferenceWorkload:
    """Convolutions in ONNX Runtime.

    threads: those of the backends; None leaves it to ONNX Runtime, as with them.
    """
    options = onnxruntime.SessionOptions()
    # Threads that wait awake would take the cores from the backend that is timed next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    model = _model().SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = {"map0": _random(IMAGE)}
    return ReferenceWorkload(CPU_WORK, lambda: session.run(None, inputs))


def gpu_workload() -> ReferenceWorkload | None:
    """Matrix products in PyTorch on the current GPU; None where PyTorch sees no GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    factor = torch.from_numpy(_random((GPU_SIDE, GPU_SIDE))).half().cuda()

    def work() -> None:
        product = factor
        for _ in range(GPU_PRODUCTS):
            product = factor @ product
        torch.cuda.synchronize()

    return ReferenceWorkload(GPU_WORK, work)


def _model() -> Any:
    nodes, weights = [], {}
    for i in range(PAIRS):
        between = f"between{i}"
        weights[f"pointwise{i}"] = _random((CHANNELS, CHANNELS, 1, 1)) / np.float32(CHANNELS**0.5)
        weights[f"depthwise{i}"] = _random((CHANNELS, 1, 3, 3)) / np.float32(3)
        nodes += [
            helper.make_node("Conv", [f"map{i}", f"pointwise{i}"], [between]),
            helper.make_node(
                "Conv",
                [between, f"depthwise{i}"],
                [f"map{i + 1}"],
                group=CHANNELS,
                pads=(1, 1, 1, 1),
            ),
        ]
    graph = helper.make_graph(
        nodes,
        "reference workload",
        [_tensor("map0")],
        [_tensor(f"map{PAIRS}")],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 19)])


def _tensor(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, IMAGE)


def _random(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(SEED).standard_normal(shape, np.float32)
