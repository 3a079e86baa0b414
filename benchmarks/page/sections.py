"""The page's tables and lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from statistics import median
from xml.etree.ElementTree import Element

from benchmarks.backends.backend import ONNX_RUNTIME_CPU
from benchmarks.page.elements import NONE, Child, element, table
from benchmarks.page.plots import FAILED, family, kind_of
from benchmarks.records.measurements import LayerTime, Peak
from benchmarks.records.record import Record
from benchmarks.roofline.limits import limit_of
from benchmarks.rows import (
    Row,
    cut_short,
    held_back_by,
    keys_of,
    lost,
    names_of,
    not_run,
    rows,
    says_nothing_of_a_gpu,
)

LAYERS_SHOWN = 15
ENQUEUE_SHARE = 0.8  # of the compute time, from which trtexec warns
IOU_LOSS_SHOWN = 0.01  # of a class, against the reference, in red


def badge(key: str, kind: str) -> Element:
    return element("span", {"class": f"key {kind}"}, element("b", NONE, key))


def kinds_of(record: Record) -> list[str]:
    """The style of each result's marks, red for those that fail a gate anywhere."""
    failed = {row.key for row in rows(record) if row.faults}
    return [
        FAILED if key in failed else family(result.name)
        for key, result in zip(keys_of(record.results), record.results, strict=True)
    ]


def named(row: Row) -> Element:
    return element("span", NONE, badge(row.key, kind_of(row)), row.title)


def latency_table(entry: Sequence[Row], measured: Sequence[Row], title: str) -> Element:
    """The main table. Rows that fail a gate are red, and say so."""
    with_iou = any(row.accuracy and row.accuracy.mean_iou is not None for row in measured)
    head: list[Child] = ["backend", "median ms", "95 % interval", "p90 ms", "p99 ms", "frames/s"]
    head += ["pixels as PyTorch", *(["mIoU, %"] if with_iou else []), "verdict"]
    body = [_cells(row, with_iou) for row in entry]
    classes = [FAILED if row.faults else "" for row in entry]
    return table(head, body, title, classes)


def _cells(row: Row, with_iou: bool) -> list[Child]:
    latency = row.latency
    verdict: Child = "FAILED" if row.faults else "passed"
    if row.faults:
        verdict = element("span", {"class": "fault"}, "✗ FAILED")
    elif row.is_reference or row.agreement_text == "-":
        verdict = "-"
    return [
        named(row),
        f"{latency.median_ms:.2f}",
        f"{row.median.low:.2f} to {row.median.high:.2f}",
        _tail(latency.p90_ms, latency.p90_is_low_confidence),
        _tail(latency.p99_ms, latency.p99_is_low_confidence),
        f"{row.frames_per_second:.2f}",
        _marked(row.agreement_text, row.pixel_fault is not None),
        *([_marked(row.iou_text, row.iou_fault is not None)] if with_iou else []),
        verdict,
    ]


def _marked(text: str, fault: bool) -> Child:
    return element("span", {"class": "fault"}, text) if fault else text


def _tail(milliseconds: float, low_confidence: bool) -> str:
    return f"≈ {milliseconds:.2f}" if low_confidence else f"{milliseconds:.2f}"


def notes(record: Record, measured: Sequence[Row]) -> list[Child]:
    """What is wrong, did not run, ran short, or proves nothing."""
    failed = {row.title: row.faults for row in measured if row.faults}
    lines = [_note("FAILED", title, "; ".join(found), "fault") for title, found in failed.items()]
    lines += [_note("LOST", which, error, "fault") for which, error in lost(record)]
    lines += [_note("CUT SHORT", which, how_much) for which, how_much in cut_short(measured)]
    if reasons := held_back_by(record):
        lines.append(_note("HELD BACK", "the GPU during rounds", ", ".join(reasons), "fault"))
    lines += [_note("NOT RUN", which, reason) for which, reason in not_run(record)]
    if any(says_nothing_of_a_gpu(row) for row in measured):
        proves_little = (
            "computes FP16 files in FP32 and INT8 files in kernels of its own: those rows say "
            "nothing of the same files on a GPU"
        )
        lines.append(_note("NOTE", ONNX_RUNTIME_CPU, proves_little))
    low = "≈ marks low confidence: fewer than 100 samples lie beyond the percentile."
    return [
        element("p", {"class": "soft"}, low),
        *([element("ul", {"class": "notes"}, *lines)] if lines else []),
    ]


def _note(what: str, which: str, why: str, kind: str = "tag") -> Element:
    return element("li", NONE, element("span", {"class": kind}, f"{what}: "), f"{which}: {why}")


def resources_table(record: Record) -> list[Child]:
    """What each backend costs beside its latency."""
    head: list[Child] = ["backend", "file MB", "build s", "load ms", "first frame ms"]
    head += ["host memory MB", "GPU memory MB"]
    body = []
    for row in {row.key: row for row in reversed(rows(record))}.values():
        result, memory = row.result, row.result.memory
        cells: list[Child] = [
            named(row),
            _megabytes(result.size_bytes),
            number(result.build_seconds),
            number(result.load_ms),
            number(result.first_frame_ms),
            _megabytes(memory.host_peak_bytes if memory else None),
            _megabytes(memory.device_peak_bytes if memory else None),
        ]
        body.append(cells)
    made: list[Child] = [
        table(head, body[::-1], "Memory: what the backend added at its peak while it opened")
    ]
    return [*made, *_budget(record), *_phases(record)]


def _budget(record: Record) -> list[Child]:
    """Where one frame's time goes, by backend: the medians over the images."""
    measured = {row.key: row for row in rows(record) if row.result.budget}.values()
    if not measured:
        return []
    steps = [field.name for field in fields(type(next(iter(measured)).result.budget))]  # type: ignore[arg-type]
    head: list[Child] = ["backend", *(step.removesuffix("_ms").replace("_", " ") for step in steps)]
    body: list[list[Child]] = []
    for row in measured:
        values = [getattr(row.result.budget, step) for step in steps]
        body.append([named(row), *(number(median(times) if times else None) for times in values)])
    return [table(head, body, "One frame from file to overlay, ms (median over the images)")]


def _phases(record: Record) -> list[Child]:
    """Engines in trtexec's terms; its warning where the host can hardly keep the GPU busy."""
    measured = {row.key: row for row in rows(record) if row.result.phases}.values()
    body: list[list[Child]] = []
    for row in measured:
        phases = row.result.phases
        assert phases is not None
        enqueue, h2d, compute, d2h = (
            median(times)
            for times in (phases.enqueue_ms, phases.h2d_ms, phases.compute_ms, phases.d2h_ms)
        )
        bound_by_host = enqueue > ENQUEUE_SHARE * compute
        cells: list[Child] = [named(row), number(h2d + compute + d2h)]
        cells += [_marked(number(enqueue), bound_by_host), *map(number, (h2d, compute, d2h))]
        body.append(cells)
    if not body:
        return []
    head: list[Child] = ["engine", "latency", "enqueue", "H2D", "GPU compute", "D2H"]
    caption = (
        "Engines in trtexec's terms, ms (medians of runs of their own, each step waited for). Red: "
        f"the host's enqueue takes more than {ENQUEUE_SHARE:.0%} of the compute time"
    )
    return [table(head, body, caption)]


def iou_table(record: Record) -> list[Child]:
    """Each class by each backend; what lost against the reference is red."""
    classes = record.conditions.classes
    keys, names, kinds = keys_of(record.results), names_of(record.results), kinds_of(record)
    judged = [
        (badge(key, kind), f"{key}: {name} {result.precision}", result, accuracy)
        for key, name, kind, result in zip(keys, names, kinds, record.results, strict=True)
        for accuracy in result.accuracies[:1]
        if len(accuracy.class_iou) == len(classes) and classes
    ]
    if not judged:
        return []
    reference = next((a for _, _, r, a in judged if r.name == record.conditions.reference), None)
    head: list[Child] = ["class"]
    head += [mark for mark, _, _, _ in judged]
    body: list[list[Child]] = []
    for index, name in enumerate(classes):
        before = reference.class_iou[index] if reference else None
        body.append([name, *(_iou(a.class_iou[index], before) for _, _, _, a in judged)])
    means = [a.mean_iou for _, _, _, a in judged]
    before = reference.mean_iou if reference else None
    body.append(["mean", *(_iou(mean, before) for mean in means)])
    who = "; ".join(title for _, title, _, _ in judged)
    return [
        element("h3", NONE, "IoU by class, %"),
        table(head, body, f"On {record.conditions.labels}. Red: a point or more below PyTorch."),
        element("p", {"class": "soft"}, who),
    ]


def _iou(value: float | None, reference: float | None) -> Child:
    if value is None:
        return "-"
    lost_much = reference is not None and reference - value >= IOU_LOSS_SHOWN
    return _marked(f"{100 * value:.1f}" + (" ↓" if lost_much else ""), lost_much)


def layer_table(row: Row, peak: Peak) -> Element:
    """The layers that take longest, and the share of their own limit that each reaches."""
    assert row.result.roofline is not None
    layers = row.result.roofline.layers
    whole = sum(layer.ms for layer in layers)
    head: list[Child] = ["layer", "ms", "of all", "million MACs", "MB moved", "of its limit"]
    body: list[list[Child]] = []
    for layer in sorted(layers, key=lambda entry: -entry.ms)[:LAYERS_SHOWN]:
        body.append(
            [
                layer.name,
                f"{layer.ms:.3f}",
                f"{layer.ms / whole:.1%}",
                *_work(layer, peak),
            ]
        )
    shown = table(head, body, f"The {len(body)} layers of {row.title} that take longest")
    return element("details", NONE, element("summary", NONE, f"Layers of {row.title}"), shown)


def _work(layer: LayerTime, peak: Peak) -> list[Child]:
    """MACs, bytes and the share of the limit; a dash for what stands for several layers."""
    if layer.macs is None or layer.bytes is None or not layer.ms:
        return ["-", "-", "-"]
    share = limit_of(layer.macs, layer.bytes, peak) / layer.ms
    return [f"{layer.macs / 1e6:.1f}", f"{layer.bytes / 1e6:.2f}", f"{share:.0%}"]


def number(value: float | None) -> str:
    """Four digits, or a dash for what is not known."""
    return "-" if value is None else f"{value:.4g}" if value < 1000 else f"{value:.0f}"


def _megabytes(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / 1e6:.1f}"
