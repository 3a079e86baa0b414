"""What each chart of the page shows: rows of a record as marks, strips and bars."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from xml.etree.ElementTree import Element

import numpy as np

from benchmarks.page.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Mark,
    box,
    chart,
    scale_for,
    scatter,
    segment,
    short,
    shortened,
    text,
    x_axis,
    y_axis,
)
from benchmarks.page.elements import NONE, element
from benchmarks.records.measurements import Peak
from benchmarks.rows import Row

STRIP_HEIGHT, BAR_HEIGHT = 46.0, 34.0
BINS = 80
FAILED = "failed"


def kind_of(row: Row) -> str:
    """The style of a row's marks: its backend's family, or red."""
    return FAILED if row.faults else family(row.result.name)


def family(name: str) -> str:
    """By who computes; the letters in the marks tell the rest apart."""
    if "TensorRT" in name:
        return "tensorrt"
    return "onnx" if name.startswith("ONNX") else "torch"


def latency_strips(rows: Sequence[Row], title: str) -> Element:
    """Each row's whole distribution: its outline, all of its range, median with interval, p99."""
    samples = [_latencies(row) for row in rows]
    bottom = TOP + STRIP_HEIGHT * len(rows)
    scale = scale_for([float(v) for values in samples for v in values], 14, WIDTH - RIGHT, 0.03)
    drawn = [x_axis(scale, bottom, "milliseconds per query")]
    for index, (row, values) in enumerate(zip(rows, samples, strict=True)):
        middle = TOP + STRIP_HEIGHT * (index + 0.68)
        places = [scale(float(value)) for value in values]
        median, low, high, p99 = (
            scale(value)
            for value in (
                row.latency.median_ms,  # as the table and the figure beside it have it
                row.median.low,
                row.median.high,
                row.latency.p99_ms,
            )
        )
        drawn.append(
            element(
                "g",
                {"class": kind_of(row)},
                element("title", NONE, _latency_note(row)),
                text(14, middle - 17, _label(row), "label"),
                text(
                    WIDTH - RIGHT,
                    middle - 17,
                    f"{row.latency.median_ms:.4g} ms",
                    "label value",
                    "end",
                ),
                segment(min(places), middle, max(places), middle, "range"),
                _outline(places, middle),
                segment(p99, middle - 6, p99, middle + 6, "p99"),
                box(low, middle - 10, high - low, 20, "interval"),
                segment(median, middle - 11, median, middle + 11, "median"),
            )
        )
    return chart(title, bottom + BOTTOM, drawn)


def throughput(rows: Sequence[Row], title: str) -> Element:
    """Frames per second against latency; the measurements of one backend are joined."""
    lines, marks = [], []
    for key in dict.fromkeys(row.key for row in rows):
        own = [row for row in rows if row.key == key]
        points = [(row.latency.median_ms, row.frames_per_second) for row in own]
        letters = [key, *[""] * (len(own) - 1)]
        marks += [
            Mark(*point, letter, kind_of(row), _speed_note(row))
            for row, point, letter in zip(own, points, letters, strict=True)
        ]
        if len(points) > 1:
            lines.append((f"joined {kind_of(own[0])}", sorted(points)))
    return scatter(marks, ("median latency of a query, ms", "frames/s"), title, lines)


def accuracy_against_speed(rows: Sequence[Row], title: str) -> Element | None:
    """mIoU, or the agreement where there are no labels; the Pareto front is a line."""
    judged = [(row, value) for row in rows if (value := accuracy_percent(row, rows)) is not None]
    if not judged:
        return None
    front = {row.key for row in pareto_front(rows)}
    marks = [
        Mark(
            row.latency.median_ms,
            value,
            row.key,
            kind_of(row) + (" front" if row.key in front else ""),
            f"{row.title}: {value:.2f} %, {row.latency.median_ms:.4g} ms"
            + "".join(f"; FAILED: {fault}" for fault in row.faults),
        )
        for row, value in judged
    ]
    ends = sorted((mark.x, mark.y) for mark in marks if mark.letter in front)
    steps = [
        point
        for (x, y), (_, above) in zip(ends[1:], ends, strict=False)
        for point in ((x, above), (x, y))
    ]
    label = "mIoU, %" if _has_iou(rows) else "pixel agreement, %"
    lines = [("pareto", [*ends[:1], *steps])] if len(ends) > 1 else []
    return scatter(marks, ("median latency, ms", label), title, lines)


def accuracy_percent(row: Row, rows: Sequence[Row]) -> float | None:
    """mIoU where any row has it, else the share of pixels that agree (the reference's is all)."""
    accuracy = row.accuracy
    if _has_iou(rows):
        return 100 * accuracy.mean_iou if accuracy and accuracy.mean_iou is not None else None
    if row.is_reference:
        return 100.0
    return 100 * accuracy.agreement.share if accuracy and accuracy.agreement else None


def pareto_front(rows: Sequence[Row]) -> list[Row]:
    """Those that pass their gates and that no other such row beats in one of speed and accuracy
    without losing in the other."""
    able = [
        (row.latency.median_ms, -value, row)
        for row in rows
        if not row.faults and (value := accuracy_percent(row, rows)) is not None
    ]
    return [
        row
        for ms, loss, row in able
        if not any(a <= ms and b <= loss and (a, b) != (ms, loss) for a, b, _ in able)
    ]


def percentages(entries: Sequence[tuple[Row, float]], title: str) -> Element:
    """One bar for each row, of the whole width at 100 %, or where one is more at that."""
    longest = max(100.0, *(value for _, value in entries))
    drawn = []
    for index, (row, value) in enumerate(entries):
        y = TOP + BAR_HEIGHT * index
        width = (WIDTH - RIGHT - 14) * value / longest
        drawn += [
            text(14, y + 8, _label(row), "label"),
            text(WIDTH - RIGHT, y + 8, f"{short(value)} %", "label value", "end"),
            box(14, y + 13, width, 10, f"bar {kind_of(row)}", f"{row.title}: {value:.4g} %"),
        ]
    return chart(title, TOP + BAR_HEIGHT * len(entries), drawn)


def layer_roofline(row: Row, peak: Peak, title: str) -> Element | None:
    """Every layer by its work for each byte and the speed it reached, under the machine's roof.

    The area of a mark is the layer's share of the time.
    """
    roofline = row.result.roofline
    layers = [layer for layer in (roofline.layers if roofline else ()) if layer.macs and layer.ms]
    points = [
        (layer.macs / layer.bytes, 1e3 * layer.macs / layer.ms, layer)
        for layer in layers
        if layer.macs and layer.bytes
    ]
    if not points:
        return None
    knee = peak.macs_per_second / peak.bytes_per_second
    right = max(knee, *(p[0] for p in points)) * 1.6
    x = scale_for([p[0] for p in points] + [knee, right], LEFT, WIDTH - RIGHT)
    y = scale_for([p[1] for p in points] + [peak.macs_per_second], HEIGHT - BOTTOM, TOP)
    left = max(x.low, y.low / peak.bytes_per_second)
    roof = [
        (left, left * peak.bytes_per_second),
        (knee, peak.macs_per_second),
        (x.high, peak.macs_per_second),
    ]
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in roof)
    whole = sum(layer.ms for layer in layers)
    drawn = [
        x_axis(x, HEIGHT - BOTTOM, "multiply-accumulates per byte"),
        y_axis(y, "multiply-accumulates/s"),
        element("polyline", {"points": path, "class": "roof"}),
        *(
            element(
                "circle",
                {
                    "cx": x(a),
                    "cy": y(b),
                    "r": 2 + 22 * (layer.ms / whole) ** 0.5,
                    "class": f"layer {kind_of(row)}",
                },
                element("title", NONE, f"{layer.name}: {layer.ms:.3g} ms, {short(b)}MAC/s"),
            )
            for a, b, layer in points
        ),
    ]
    return chart(title, HEIGHT, drawn)


def _label(row: Row) -> str:
    return shortened(f"{row.key}  {row.title}")


def _latencies(row: Row) -> np.ndarray:
    return np.array(list(chain.from_iterable(entry.latencies_ms for entry in row.rounds)))


def _outline(places: Sequence[float], middle: float) -> Element:
    """The distribution's density along the axis, mirrored: at most 10 units high."""
    counts, edges = np.histogram(places, bins=BINS, range=(min(places) - 1, max(places) + 1))
    smooth = np.convolve(np.pad(counts, 2, mode="edge"), (1, 2, 3, 2, 1), mode="valid")
    heights = 10 * smooth / smooth.max()
    centres = (edges[:-1] + edges[1:]) / 2
    above = [f"{x:.1f},{middle - h:.1f}" for x, h in zip(centres, heights, strict=True)]
    below = [f"{x:.1f},{middle + h:.1f}" for x, h in zip(centres, heights, strict=True)]
    return element("polygon", {"points": " ".join([*above, *below[::-1]]), "class": "outline"})


def _latency_note(row: Row) -> str:
    latency, median = row.latency, row.median
    return (
        f"{row.title}: {latency.count} queries, median {latency.median_ms:.4g} ms, 95 % interval "
        f"{median.low:.4g} to {median.high:.4g}, p90 {latency.p90_ms:.4g}, p99 {latency.p99_ms:.4g}"
    )


def _speed_note(row: Row) -> str:
    found = row.measurement
    return (
        f"{row.title}, {found.scenario}, batch {found.batch}: {row.frames_per_second:.4g} "
        f"frames/s at {row.latency.median_ms:.4g} ms"
    )


def _has_iou(rows: Sequence[Row]) -> bool:
    return any(row.accuracy and row.accuracy.mean_iou is not None for row in rows)
