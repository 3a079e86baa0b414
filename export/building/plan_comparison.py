"""Whether an INT8 engine can be cheaper than the FP16 engine of its network, by their plans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.card import Card, Sidecar, read_sidecar
from runtime.engine.gpu_sheets import USUAL
from runtime.engine.plan import TOLERANCE
from runtime.engine.plan_facts import PLAN, dearer_everywhere, estimates_of, graph_macs_of


def of_another_runtime(card: Card, runtime: str) -> str:
    """Why an INT8 file suits this runtime badly; nothing where it suits, or does not say.

    runtime: rtx or tensorrt.
    """
    calibration = card.details.get("calibration")
    if card.precision != "int8" or not isinstance(calibration, Mapping):
        return ""
    # Files from before there was a choice have a scale for each output channel.
    made_for = calibration.get("int8_for", "tensorrt")
    if made_for == runtime:
        return ""
    reason = (
        "TensorRT-RTX does not fuse its scales per output channel, so that the engine costs more"
        if runtime == "rtx"
        else "TensorRT would fuse scales per output channel, which lose less accuracy"
    )
    return (
        f"its INT8 weights are made for {made_for}: {reason}. refinenet export --int8-for {runtime}"
    )


def cost_line(build: Mapping[str, Any]) -> str:
    """What an engine may cost, on one line; nothing where its plan could not be read.

    build: of the sidecar of an engine that was built just now.
    """
    facts = build.get(PLAN)
    if facts is None:
        return ""
    if doubt := facts.get("not_understood"):
        return f"{facts['kernels']} kernels; no estimate: {doubt}"
    return (
        f"{facts['kernels']} kernels, {facts['bytes'] / 1e6:.0f} MB; on {USUAL} "
        f"{estimates_of(build)[USUAL]}, estimated from the plan and the data sheet, not measured"
    )


def against_fp16(engine: Path) -> list[str]:
    """Lines on an INT8 engine and the FP16 engine of the same network beside it; none for others.

    The last line is a warning, and begins so, where INT8 costs more at both ends of the estimate.
    """
    int8 = read_sidecar(engine)
    beside = engine.with_name(engine.name.replace(".int8.", ".fp16."))
    if int8 is None or beside == engine or not beside.is_file():
        return []
    fp16 = read_sidecar(beside)
    if fp16 is None or not _same_work(int8, fp16):
        return []
    ours, theirs = estimates_of(int8.build), estimates_of(fp16.build)
    ranges = {name: (ours[name], theirs[name]) for name in ours if name in theirs}
    if not ranges:
        return []
    gpu = USUAL if USUAL in ranges else next(iter(ranges))
    one, other = ranges[gpu]
    lines = [
        f"{engine.name} on {gpu}: {one}, and {beside.name}: {other} (both estimated from their "
        "plans and the data sheet)"
    ]
    dearer = [name for name, pair in ranges.items() if dearer_everywhere(*pair)]
    if dearer:
        lines.append(
            f"warning: by its plan {engine.name} costs more than {beside.name} at both ends of the "
            f"estimate on {', '.join(dearer)}; take FP16 there, unless refinenet benchmark shows "
            "that INT8 is faster"
        )
    return lines


def _same_work(one: Sidecar, other: Sidecar) -> bool:
    """Whether both do the same work, as engines of one network and size do."""
    if one.build.get("package") != other.build.get("package"):
        return False
    macs = [graph_macs_of(sidecar.build) for sidecar in (one, other)]
    if macs[0] is None or macs[1] is None:
        return False
    return abs(macs[0] - macs[1]) <= TOLERANCE * max(macs[0], macs[1])
