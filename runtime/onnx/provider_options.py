"""What each execution provider of ONNX Runtime is asked for: precisions, and caches beside a file.

A cache lies in FILE.tensorrt-HASH or FILE.rtx-HASH, by the file's hash: the TensorRT provider knows
its engines by the graph alone, and would take one with the weights of before.
"""

from __future__ import annotations

import os
from pathlib import Path

from runtime.files import sha256_of
from runtime.onnx.graph import read_graph

# The first release whose CUDA provider has a kernel for Resize of opset 19, which every graph of
# ours has (onnxruntime pull request 27415); before, the CPU computes it without a word.
CUDA_FLOOR = (1, 25)
NO_FALLBACK = "session.disable_cpu_ep_fallback"
# A layer in INT8 may stand beside others in FP16.
TENSORRT_FLAGS = {
    "fp32": (),
    "fp16": ("trt_fp16_enable",),
    "bf16": ("trt_bf16_enable",),
    "int8": ("trt_fp16_enable", "trt_int8_enable"),
}


def provider_options(provider: str, path: Path, precision: str) -> dict[str, str]:
    """The options of a provider for this file.

    precision: of the file's card.
    """
    if provider == "cuda":
        # As in PyTorch's reference and in our engines: FP32 means FP32.
        return {"use_tf32": "0"}
    if provider == "tensorrt":
        flags = dict.fromkeys(TENSORRT_FLAGS.get(precision, ()), "1")
        return flags | _tensorrt_caches(_cache_folder(path, provider))
    if provider == "rtx":
        folder = _cache_folder(path, provider)
        return {} if folder is None else {"nv_runtime_cache_path": str(folder)}
    return {}


def session_settings(provider: str, path: Path) -> dict[str, str]:
    """Settings of the session. On a GPU a node that only the CPU can compute is an error.

    Not for a file of any size: ONNX Runtime computes sizes on the CPU by intention.
    """
    if provider == "cpu" or not _has_one_size(path):
        return {}
    return {NO_FALLBACK: "1"}


def _has_one_size(path: Path) -> bool:
    graph = read_graph(path)
    made = {name for node in graph.nodes for name in node.outputs}
    taken = {name for node in graph.nodes for name in node.inputs if name}
    inputs = taken - made - graph.initializer_shapes.keys()
    return all(name in graph.shapes for name in inputs)


def _cache_folder(path: Path, provider: str) -> Path | None:
    """None where nothing can be written: a cache saves time and is never needed."""
    if not os.access(path.parent, os.W_OK):
        return None
    # One level: the providers make the folder, and not the one around it.
    return path.with_name(f"{path.name}.{provider}-{sha256_of(path)[:16]}")


def _tensorrt_caches(folder: Path | None) -> dict[str, str]:
    if folder is None:
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }
