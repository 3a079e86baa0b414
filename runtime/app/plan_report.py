"""What the plan of a TensorRT-RTX engine says of its cost, for people."""

from __future__ import annotations

from pathlib import Path

from runtime.card import Sidecar
from runtime.engine.compatibility import onnx_name
from runtime.engine.gpu_sheets import GPUS, USUAL
from runtime.engine.plan import Kernel, Plan, read_plan
from runtime.engine.plan_estimate import gpu_named, kernel_estimate, plan_estimate
from runtime.engine.plan_facts import graph_macs_of, types_read_and_written
from runtime.errors import InputError
from runtime.files import sha256_of
from runtime.onnx.graph_macs import graph_macs

ESTIMATED = "estimated from the plan and the data sheet, not measured"


def check_estimable(path: Path, gpu: str) -> None:
    """InputError for a GPU without a data sheet, and for a file without a plan that can be read."""
    gpu_named(gpu)
    if path.suffix != ".engine" or read_plan(path) is None:
        raise InputError(
            f"--gpu estimates engines of TensorRT-RTX, and {path} holds no plan of its; "
            "build one: refinenet build FILE.onnx --runtime rtx"
        )


def plan_report(path: Path, sidecar: Sidecar | None, gpu: str | None) -> dict[str, str]:
    """The facts by name; none for a file that is no TensorRT-RTX engine.

    gpu: show every kernel with what it may cost there.
    """
    ours = sidecar is not None and sidecar.build.get("package") == "rtx"
    if path.suffix != ".engine" or not ours or sidecar is None:
        return {}
    if (plan := read_plan(path)) is None:
        return {"plan": "not understood: the file holds no program as TensorRT-RTX 1.7 writes it"}
    facts = {
        "plan": f"{len(plan.kernels)} kernels, {plan.fused_sums} sums fused with a weighted layer",
        "weighted layers": f"{types_read_and_written(plan)} (read to written)",
    }
    if doubt := plan.doubt(_graph_macs(path, sidecar)):
        return facts | {"estimate": f"none, the plan was not understood: {doubt}"}
    facts["moved"] = f"{plan.bytes / 1e6:.0f} MB in all, {plan.macs / 1e9:.2f} GMAC"
    for name in (gpu,) if gpu else (USUAL,):
        facts[f"on {name}"] = f"{plan_estimate(plan, GPUS[name])} a call, {ESTIMATED}"
    return facts | (_kernels(plan, gpu) if gpu else {})


def _graph_macs(path: Path, sidecar: Sidecar) -> int | None:
    """As `build` wrote it down, or else of the ONNX file beside the engine."""
    if (found := graph_macs_of(sidecar.build)) is not None:
        return found
    onnx = path.with_name(onnx_name(path))
    if onnx.is_file() and sha256_of(onnx) == sidecar.card.parents.get("onnx"):
        return graph_macs(onnx)
    return None


def _kernels(plan: Plan, gpu: str) -> dict[str, str]:
    sheet = GPUS[gpu]
    facts = {"data sheet": sheet.source}
    for number, kernel in enumerate(plan.kernels, 1):
        facts[f"kernel {number}"] = f"{kernel_estimate(kernel, sheet)}  {_words(kernel)}"
    return facts


def _words(kernel: Kernel) -> str:
    work = f"{kernel.bytes / 1e6:.2f} MB"
    if kernel.macs:
        work += f", {kernel.macs / 1e9:.3f} GMAC"
    return f"{kernel.kind} {kernel.name}: {kernel.reads} to {kernel.writes}, {work}"
