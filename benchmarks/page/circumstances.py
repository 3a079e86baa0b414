"""How, where and in which state of the machine a record was made, for the page."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from benchmarks.page.elements import NONE, Child, element, table
from benchmarks.page.sections import number
from benchmarks.records.conditions import conditions_text
from benchmarks.records.machine import JetsonState
from benchmarks.records.measurements import Peak
from benchmarks.records.record import Record


def conditions(record: Record) -> Element:
    """Everything that a reader needs to repeat it."""
    machine, asked = record.environment, record.conditions
    facts = {
        "command": record.command,
        "conditions": conditions_text(record).replace("`", ""),  # Markdown's
        "machine": f"{machine.cpu}, {machine.cores} cores, {machine.system}",
        "GPU": "; ".join(f"{gpu.name}, driver {gpu.driver}" for gpu in machine.gpus) or "none",
        "software": ", ".join(f"{name} {found}" for name, found in machine.versions.items()),
        "commit": (machine.commit or "unknown") + (", changed" if machine.commit_is_dirty else ""),
        "images": ", ".join(asked.images),
        "reference workload": "; ".join(f"{d}: {w}" for d, w in asked.workloads.items()) or "none",
        "peaks": "; ".join(_peak(peak) for peak in record.peaks) or "not measured",
        "files": "; ".join(
            f"{result.file} {result.sha256[:12]}"
            for result in {result.sha256: result for result in record.results}.values()
        ),
    }
    parts = [
        part
        for name, fact in facts.items()
        for part in (element("dt", NONE, name), element("dd", NONE, fact))
    ]
    return element("dl", NONE, *parts)


def _peak(peak: Peak) -> str:
    return (
        f"{peak.device} {peak.precision} {peak.macs_per_second / 1e9:.4g} GMAC/s, "
        f"{peak.bytes_per_second / 1e9:.4g} GB/s"
    )


def machine_state(record: Record) -> list[Child]:
    """Clocks, power and temperature before and after."""
    states = [("before", record.before), *([("after", record.after)] if record.after else [])]
    head: list[Child] = [
        "state",
        "time",
        "load",
        "CPU MHz",
        "GPU MHz",
        "memory MHz",
        "W",
        "°C",
        "held back by",
    ]
    body: list[list[Child]] = []
    for name, state in states:
        for gpu in state.gpus or (None,):
            body.append(
                [
                    name,
                    state.utc,
                    number(state.load_average),
                    number(state.cpu_clock_mhz),
                    number(gpu.sm_clock_mhz if gpu else None),
                    number(gpu.memory_clock_mhz if gpu else None),
                    number(gpu.power_w if gpu else None),
                    number(gpu.temperature_c if gpu else None),
                    ", ".join((gpu.throttle_reasons if gpu else None) or ()) or "-",
                ]
            )
    parts: list[Child] = [table(head, body, "The machine before and after all rounds")]
    parts += [
        element("p", {"class": "soft"}, f"Jetson {name}: {_jetson(state.jetson)}.")
        for name, state in states
        if state.jetson is not None
    ]
    return parts


def _jetson(state: JetsonState) -> str:
    known = {
        "GPU MHz": state.gpu_clock_mhz,
        "memory MHz": state.memory_clock_mhz,
        **{f"{rail} W": power_w for rail, power_w in state.power_w.items()},
        **{f"{zone} °C": celsius for zone, celsius in state.temperature_c.items()},
    }
    figures = [f"{name} {number(value)}" for name, value in known.items()]
    return ", ".join([f"power mode {state.power_mode or 'unknown'}", *figures])
