"""A record as its readers see it: one row for every measurement, judged by the gates.

The Markdown table and the page are two views of these rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from string import ascii_uppercase

import numpy as np

from benchmarks.backends.backend import ONNX_RUNTIME_CPU
from benchmarks.records.latency import LatencySummary, summarize
from benchmarks.records.measurements import (
    MULTI,
    SCENARIOS,
    SERVER,
    SINGLE,
    Accuracy,
    Agreement,
    Measurement,
    Round,
)
from benchmarks.records.record import Record, Result
from benchmarks.records.statistics import Interval, median_interval
from benchmarks.roofline.limits import measurement_of_limit
from benchmarks.scenarios.scenarios import holds
from export.verify.gates import GATES, Gate

BF16_GATE = "fp16"  # the other type of 16 bits; it has no gate of its own


@dataclass(frozen=True)
class Row:
    """One measurement of one result.

    key: of the result within its record, A, B, …, by which charts and tables point at each other.
    name: the backend's, with the file where name and precision would not tell two apart.
    rounds: those that the figures come from: of a server, the fastest round within the bound.
    median: with the interval over the rounds. frames_per_second: of a server, of its arrivals.
    pixel_fault, iou_fault: the accuracy gates that it fails, in words; None where it passes.
    """

    key: str
    name: str
    result: Result
    measurement: Measurement
    rounds: tuple[Round, ...]
    latency: LatencySummary
    median: Interval
    frames_per_second: float
    accuracy: Accuracy | None
    is_reference: bool
    pixel_fault: str | None
    iou_fault: str | None

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(fault for fault in (self.pixel_fault, self.iou_fault) if fault)

    @property
    def title(self) -> str:
        return f"{self.name} {self.result.precision}"

    @property
    def agreement_text(self) -> str:
        if self.is_reference:
            return "reference"
        if self.accuracy is None or self.accuracy.agreement is None:
            return "-"
        return _percent(self.accuracy.agreement)

    @property
    def limit_text(self) -> str:
        """Of the measurement that the roofline rests on; the others say nothing of it."""
        roofline = self.result.roofline
        if roofline is None or self.measurement is not measurement_of_limit(self.result):
            return "-"
        return f"{roofline.share:.1%}"

    @property
    def iou_text(self) -> str:
        """In points."""
        if self.accuracy is None or self.accuracy.mean_iou is None:
            return "-"
        return f"{100 * self.accuracy.mean_iou:.2f}"


def rows(record: Record) -> list[Row]:
    """The measurements that have rounds, in the record's order."""
    names = names_of(record.results)
    keys = keys_of(record.results)
    return [
        _row(record, result, measurement, keys[index], names[index])
        for index, result in enumerate(record.results)
        for measurement in result.measurements
        if _counted(measurement, record)
    ]


def names_of(results: Sequence[Result]) -> list[str]:
    """The backends' names, with the file's where name and precision would not tell two apart."""
    counts = Counter((result.name, result.precision) for result in results)
    return [
        f"{result.name} ({result.file})"
        if counts[result.name, result.precision] > 1
        else result.name
        for result in results
    ]


def keys_of(results: Sequence[object]) -> list[str]:
    """One for each: A to Z, then A1 to Z1, …"""
    count = len(ascii_uppercase)
    return [
        ascii_uppercase[index % count] + (str(index // count) if index >= count else "")
        for index in range(len(results))
    ]


def not_run(record: Record) -> list[tuple[str, str]]:
    """What did not run, grouped by reason: (backends with their precisions, the reason)."""
    groups: dict[str, dict[str, list[str]]] = {}
    for result, name in zip(record.results, names_of(record.results), strict=True):
        for reason in _reasons(result, record):
            shared = " ".join(reason.replace(result.file, "the file").split())
            precisions = groups.setdefault(shared, {}).setdefault(name, [])
            if result.precision not in precisions:
                precisions.append(result.precision)
    return [(_grouped(names), reason) for reason, names in groups.items()]


def _grouped(names: dict[str, list[str]]) -> str:
    """TensorRT-RTX fp32, fp16, int8; PyTorch autocast fp16"""
    return "; ".join(f"{name} {', '.join(precisions)}" for name, precisions in names.items())


def lost(record: Record) -> list[tuple[str, str]]:
    """Backends that an error took away on the way: (backend, the error)."""
    return [
        (f"{name} {result.precision}", result.error)
        for result, name in zip(record.results, names_of(record.results), strict=True)
        if result.error is not None
    ]


def says_nothing_of_a_gpu(row: Row) -> bool:
    """ONNX Runtime's CPU provider computes FP16 in FP32 and INT8 in kernels of its own."""
    return row.result.name == ONNX_RUNTIME_CPU and row.result.precision != "fp32"


def cut_short(measured: Sequence[Row]) -> list[tuple[str, str]]:
    """What the cap ended before the count was reached: (backend and measurement, how much)."""
    cut = [(row, sum(entry.stopped_by == "cap" for entry in row.rounds)) for row in measured]
    return [
        (
            f"{row.title}, {entry_title(row)}",
            f"{count} of {len(row.rounds)} rounds reached the time cap, "
            f"{row.latency.count} queries in all",
        )
        for row, count in cut
        if count
    ]


def held_back_by(record: Record) -> list[str]:
    """What throttled the GPU at the end of any round."""
    found = {
        reason
        for result in record.results
        for entry in result.measurements
        for played in entry.rounds
        for reason in played.throttle_reasons or ()
    }
    return sorted(found)


def entries(measured: Sequence[Row]) -> list[list[Row]]:
    """The rows that compare: of one size, scenario and batch, a single stream first."""
    return [list(group) for _, group in groupby(sorted(measured, key=_entry), key=_entry)]


def entry_title(row: Row) -> str:
    """What rows that compare have in common."""
    found = row.measurement
    stream = " stream" if found.scenario in (SINGLE, MULTI) else ""
    frames = found.frames_per_query
    query = f", {frames} frames in a query" if frames > 1 else ""
    size = f"{found.height}x{found.width}"
    return f"{found.scenario}{stream}, batch {found.batch}{query}, {size}"


def pixel_fault(precision: str, accuracy: Accuracy | None) -> str | None:
    """The gate of its precision that the agreement with PyTorch FP32 fails, if it does."""
    gate = _gate(precision)
    agreement = accuracy.agreement if accuracy else None
    if gate is None or agreement is None or agreement.share >= gate.pixels:
        return None
    return (
        f"{_percent(agreement)} of pixels agree with PyTorch, the gate is {100 * gate.pixels:.2f} %"
    )


def iou_fault(precision: str, accuracy: Accuracy | None, reference: Accuracy | None) -> str | None:
    """The gate of its precision that the loss of mIoU against PyTorch FP32 fails, if it does."""
    gate = _gate(precision)
    before, after = (entry.mean_iou if entry else None for entry in (reference, accuracy))
    if gate is None or before is None or after is None:
        return None
    loss = 100 * (before - after)
    if loss <= gate.miou_loss:
        return None
    return f"loses {loss:.3f} points of mIoU, the gate is {gate.miou_loss:g}"


def _percent(agreement: Agreement) -> str:
    """Rounded down, in whole numbers: 100.000 % is said of nothing that differs in a pixel."""
    thousandths = agreement.equal_pixels * 100_000 // agreement.pixels
    return f"{thousandths // 1000}.{thousandths % 1000:03} %"


def _gate(precision: str) -> Gate | None:
    return GATES.get(BF16_GATE if precision == "bf16" else precision)


def _entry(row: Row) -> tuple[int, int, int, int]:
    found = row.measurement
    return found.height, found.width, SCENARIOS.index(found.scenario), found.batch


def _row(record: Record, result: Result, entry: Measurement, key: str, name: str) -> Row:
    rounds = _counted(entry, record)
    latency = summarize(rounds)
    is_reference = result.name == record.conditions.reference
    accuracy = _at_size(result, entry)
    reference = next((r for r in record.results if r.name == record.conditions.reference), None)
    reference_accuracy = _at_size(reference, entry) if reference else None
    rate = rounds[0].arrivals_per_second
    return Row(
        key=key,
        name=name,
        result=result,
        measurement=entry,
        rounds=rounds,
        latency=latency,
        median=median_interval([float(np.median(entry.latencies_ms)) for entry in rounds]),
        frames_per_second=rate or latency.frames_per_second * entry.frames_per_query,
        accuracy=accuracy,
        is_reference=is_reference,
        pixel_fault=None if is_reference else pixel_fault(result.precision, accuracy),
        iou_fault=(
            None if is_reference else iou_fault(result.precision, accuracy, reference_accuracy)
        ),
    )


def _counted(entry: Measurement, record: Record) -> tuple[Round, ...]:
    """The rounds that the figures come from."""
    finished = tuple(found for found in entry.rounds if found.latencies_ms)
    if entry.scenario != SERVER:
        return finished
    bound_ms = record.conditions.latency_bound_ms or float("inf")
    served = [found for found in finished if holds(found, bound_ms)]
    return tuple(sorted(served, key=lambda found: found.arrivals_per_second or 0)[-1:])


def _at_size(result: Result, entry: Measurement) -> Accuracy | None:
    size = entry.height, entry.width
    return next((a for a in result.accuracies if (a.height, a.width) == size), None)


def _reasons(result: Result, record: Record) -> list[str]:
    if result.not_run is not None:
        return [result.not_run]
    return [
        f"{entry.scenario}, batch {entry.batch}, {entry.height}x{entry.width}: {reason}"
        for entry in result.measurements
        if (reason := entry.not_run or _unheld(entry, record)) is not None
    ]


def _unheld(entry: Measurement, record: Record) -> str | None:
    if entry.scenario != SERVER or not entry.rounds or _counted(entry, record):
        return None
    lowest = min(played.arrivals_per_second or 0 for played in entry.rounds)
    return (
        f"no rate that was tried held a p99 of {record.conditions.latency_bound_ms:g} ms, "
        f"the lowest of them {lowest:.1f} frames a second"
    )
