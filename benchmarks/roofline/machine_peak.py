"""What this machine reaches: a large matrix product and a large copy, the fastest of several.

A peak that was measured is what software can get here, at today's clocks and beside today's other
work; a peak from a data sheet is neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper

from benchmarks.records.measurements import Peak

CPU_SIDE, GPU_SIDE = 2048, 8192
CPU_COPY_BYTES, GPU_COPY_BYTES = 2**28, 2**30  # far beyond any cache
GPU_PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
MIN_SECONDS, MIN_REPEATS, MAX_SECONDS = 1.0, 5, 20.0

Work = Callable[[], object]


def machine_peaks(threads: int | None = None) -> tuple[Peak, ...]:
    """The CPU's peak in FP32, and those of the GPU if PyTorch sees one.

    threads: of the CPU's work, as of the backends; None leaves it to each library.
    """
    return (cpu_peak(threads), *(gpu_peaks() if torch.cuda.is_available() else ()))


def cpu_peak(threads: int | None = None) -> Peak:
    """FP32, in which ONNX Runtime and PyTorch compute there; the faster of the two counts."""
    if threads is not None:
        torch.set_num_threads(threads)
    factor = torch.rand(CPU_SIDE, CPU_SIDE)
    product = torch.empty_like(factor)
    products: list[Work] = [
        lambda: torch.mm(factor, factor, out=product),
        _onnx_product(factor.numpy(), threads),
    ]
    seconds = min(fastest_seconds(work) for work in products)
    copy_seconds = fastest_seconds(_copy(CPU_COPY_BYTES, "cpu"))
    return _peak("cpu", "fp32", CPU_SIDE, seconds, CPU_COPY_BYTES, copy_seconds)


def gpu_peaks() -> tuple[Peak, ...]:
    """In each precision of the tensor cores; FP32 without TF32, as verification runs it."""
    copy_seconds = fastest_seconds(_finished(_copy(GPU_COPY_BYTES, "cuda")))
    products = {precision: _product_of(kind) for precision, kind in GPU_PRECISIONS.items()}
    factor = torch.ones((GPU_SIDE, GPU_SIDE), dtype=torch.int8, device="cuda")
    products["int8"] = lambda: torch._int_mm(factor, factor.t())  # cuBLAS wants one transposed
    return tuple(
        _peak(
            "cuda",
            precision,
            GPU_SIDE,
            fastest_seconds(_finished(work)),
            GPU_COPY_BYTES,
            copy_seconds,
        )
        for precision, work in products.items()
    )


def fastest_seconds(work: Work) -> float:
    """The shortest of repeats, after one that prepares: what else runs can only slow it."""
    work()
    fastest, start, repeats = float("inf"), time.perf_counter(), 0
    while True:
        before = time.perf_counter()
        work()
        now = time.perf_counter()
        fastest, repeats = min(fastest, now - before), repeats + 1
        enough = repeats >= MIN_REPEATS and now - start >= MIN_SECONDS
        if enough or now - start >= MAX_SECONDS:
            return fastest


def _onnx_product(factor: np.ndarray, threads: int | None) -> Work:
    shape = factor.shape
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["product"])],
        "product",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("a", "b")],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 19)])
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"a": factor, "b": factor})


def _copy(size_bytes: int, device: str) -> Work:
    source = torch.ones(size_bytes // 4, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _product_of(kind: torch.dtype) -> Work:
    factor = torch.rand((GPU_SIDE, GPU_SIDE), device="cuda").to(kind)
    return lambda: torch.mm(factor, factor)


def _finished(work: Work) -> Work:
    """The work and the wait for it: the GPU's calls return before it is done."""

    def run() -> None:
        work()
        torch.cuda.synchronize()

    return run


def _peak(
    device: str, precision: str, side: int, seconds: float, copied_bytes: int, copy_seconds: float
) -> Peak:
    # A copy reads and writes: two bytes move for each one copied.
    return Peak(device, precision, side**3 / seconds, 2 * copied_bytes / copy_seconds)
