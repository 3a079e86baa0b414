"""config.pbtxt: what Triton is told of a model, as protobuf text (ModelConfig, model_config.proto).

Keys of the accelerator are those of the README of Triton's onnxruntime_backend.
"""

from __future__ import annotations

from export.serving.candidate import ServingCandidate
from export.serving.serving_plan import GPU, ONNXRUNTIME, PYTHON, ServingPlan

QUEUE_DELAY_US = 2000  # how long a frame waits for others to form a batch with
QUEUE_LENGTH = 64
MODEL_FILES = {"onnxruntime": "model.onnx", "tensorrt": "model.plan"}
CACHE = "/cache"  # in the container: where ONNX Runtime keeps the engines that it builds


def model_file(candidate: ServingCandidate, plan: ServingPlan) -> str:
    """The file's name in the repository; Triton's own backends ask for theirs."""
    return MODEL_FILES.get(plan.backend, f"model{candidate.path.suffix}")


def config_text(candidate: ServingCandidate, plan: ServingPlan) -> str:
    """The whole file."""
    frames = f"data_type: TYPE_UINT8 dims: {list(plan.frame_dims)}"
    parts = [
        f"name: {_quoted(plan.name)}",
        f'backend: "{plan.backend}"',
        f"max_batch_size: {plan.max_batch}",
        f"input [ {{ name: {_quoted(candidate.frames)} {frames} }} ]",
        f"output [ {{ name: {_quoted(candidate.masks)} data_type: TYPE_UINT8 "
        f"dims: {list(plan.mask_dims)} }} ]",
        f"instance_group [ {{ kind: KIND_{plan.device.upper()} count: 1 }} ]",
        _queue(plan),
    ]
    if not plan.any_size:
        batch = f"batch_size: {1 if plan.max_batch else 0}"
        parts.append(
            f'model_warmup [ {{ name: "one frame" {batch} inputs {{ '
            f"key: {_quoted(candidate.frames)} value {{ {frames} zero_data: true }} }} }} ]"
        )
    if plan.backend == ONNXRUNTIME and plan.device == GPU and not plan.any_size:
        parts.append(_accelerator(candidate, plan))
    facts = {
        "card": candidate.card.to_json(),
        "sha256": candidate.sha256,
        "size_bytes": str(candidate.path.stat().st_size),
    }
    if plan.backend == PYTHON:
        facts |= {"model_file": model_file(candidate, plan), "device": plan.device}
    parts += [
        f"parameters {{ key: {_quoted(key)} value: {{ string_value: {_quoted(value)} }} }}"
        for key, value in facts.items()
    ]
    return "\n".join(parts) + "\n"


def _queue(plan: ServingPlan) -> str:
    """Frames that wait are refused after a while, and so are those that find the queue full:
    otherwise an overloaded server answers everybody too late."""
    preferred = sorted({plan.max_batch // 2, plan.max_batch} - {0, 1})
    batches = (
        f"  preferred_batch_size: {preferred}\n"
        f"  max_queue_delay_microseconds: {QUEUE_DELAY_US}\n"
        "  preserve_ordering: true\n"
        if preferred
        else ""
    )
    return (
        f"dynamic_batching {{\n{batches}"
        "  default_queue_policy {\n"
        "    timeout_action: REJECT\n"
        f"    default_timeout_microseconds: {1000 * plan.queue_ms}\n"
        f"    max_queue_size: {QUEUE_LENGTH}\n"
        "  }\n}"
    )


def _accelerator(candidate: ServingCandidate, plan: ServingPlan) -> str:
    """ONNX Runtime's TensorRT provider; the engines that it builds are kept."""
    options = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": CACHE}
    if plan.max_batch:
        size = "x".join(map(str, plan.frame_dims))
        for name, batch in (("min", 1), ("opt", plan.max_batch), ("max", plan.max_batch)):
            options[f"trt_profile_{name}_shapes"] = f"{candidate.frames}:{batch}x{size}"
    lines = "\n".join(
        f"      parameters {{ key: {_quoted(key)} value: {_quoted(value)} }}"
        for key, value in options.items()
    )
    return (
        "optimization { execution_accelerators {\n  gpu_execution_accelerator : [ {\n"
        f'      name : "tensorrt"\n{lines}\n  }} ]\n}} }}'
    )


def _quoted(text: str) -> str:
    """A string of protobuf's text format."""
    escapes = {ord('"'): '\\"', ord("\\"): "\\\\"}
    octets = (
        escapes.get(byte, chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}")
        for byte in text.encode()
    )
    return f'"{"".join(octets)}"'
