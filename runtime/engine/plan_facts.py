"""A plan as data, for an engine's sidecar: what `build` writes and `inspect` reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from runtime.engine.gpu_sheets import GPUS
from runtime.engine.plan import Plan
from runtime.engine.plan_estimate import Range, plan_estimate

PLAN = "plan"  # the key in a sidecar's `build`


def plan_facts(plan: Plan, graph_macs: int | None) -> dict[str, Any]:
    """For the sidecar. estimate_ms: by GPU, [cached, in_memory]; none where the plan is doubted.

    graph_macs: the multiply-accumulates of the ONNX file; None where they are not known.
    """
    doubt = plan.doubt(graph_macs)
    facts: dict[str, Any] = {
        "kernels": len(plan.kernels),
        "fused_sums": plan.fused_sums,
        "weighted_layers": [
            {"name": kernel.name, "reads": kernel.reads, "writes": kernel.writes}
            for kernel in plan.weighted
        ],
        "graph_macs": graph_macs,
    }
    if doubt:
        return facts | {"not_understood": doubt}
    estimates = {name: plan_estimate(plan, gpu) for name, gpu in GPUS.items()}
    return facts | {
        "macs": plan.macs,
        "bytes": plan.bytes,
        "estimate_ms": {
            n: [round(r.cached, 4), round(r.in_memory, 4)] for n, r in estimates.items()
        },
    }


def graph_macs_of(build: Mapping[str, Any]) -> int | None:
    """The multiply-accumulates of its graph that a sidecar's build keeps; None without them."""
    facts = build.get(PLAN)
    found = facts.get("graph_macs") if isinstance(facts, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


def estimates_of(build: Mapping[str, Any]) -> dict[str, Range]:
    """The estimates that a sidecar's build keeps, by GPU; none where it has none.

    A sidecar may be of another release, or edited: what is no estimate is passed over.
    """
    facts = build.get(PLAN)
    kept = facts.get("estimate_ms") if isinstance(facts, dict) else None
    return {
        name: Range(float(ends[0]), float(ends[1]))
        for name, ends in (kept.items() if isinstance(kept, dict) else ())
        if isinstance(ends, list)
        and len(ends) == 2
        and all(isinstance(end, int | float) for end in ends)
    }


def types_read_and_written(plan: Plan) -> str:
    """78 int8 to fp32, 2 fp16 to fp16."""
    pairs = Counter((kernel.reads, kernel.writes) for kernel in plan.weighted)
    return ", ".join(f"{n} {reads} to {writes}" for (reads, writes), n in pairs.most_common())


def dearer_everywhere(one: Range, other: Range) -> bool:
    """Whether `one` costs more than `other` at both ends."""
    return one.cached > other.cached and one.in_memory > other.in_memory
