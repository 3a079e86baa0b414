"""The page: records one after the other, each from the result to its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from xml.etree.ElementTree import Element

from benchmarks.page.circumstances import conditions, machine_state
from benchmarks.page.elements import NONE, Child, document, element
from benchmarks.page.overlays import overlays
from benchmarks.page.plots import (
    accuracy_against_speed,
    latency_strips,
    layer_roofline,
    pareto_front,
    percentages,
    throughput,
)
from benchmarks.page.sections import (
    iou_table,
    latency_table,
    layer_table,
    notes,
    resources_table,
)
from benchmarks.pictures import Pictures
from benchmarks.records.conditions import machine_text
from benchmarks.records.record import Record
from benchmarks.roofline.limits import peak_for
from benchmarks.rows import Row, entries, entry_title, rows

# Said twice, by what the page holds and to the browser: nothing is fetched, nothing is run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def html_page(records: Sequence[Record], pictures: Sequence[Pictures | None]) -> str:
    """One self-contained HTML document.

    pictures: of each record, None where there are none.
    """
    style = files("benchmarks.page").joinpath("page.css").read_text(encoding="utf-8")
    title = "RefineNet benchmark"
    head = element(
        "head",
        NONE,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("title", NONE, title),
        element("style", NONE, style),
    )
    parts: list[Child] = [element("h1", NONE, title)]
    for record, shown in zip(records, pictures, strict=True):
        parts += _record(record, shown, numbered=len(records) > 1)
    body = element("body", NONE, element("main", NONE, *parts))
    return document(element("html", {"lang": "en"}, head, body))


def _record(record: Record, pictures: Pictures | None, numbered: bool) -> list[Child]:
    measured = rows(record)
    found = entries(measured)
    parts: list[Child] = []
    if numbered:
        title = f"{record.environment.cpu}, {record.before.utc}"
        parts.append(element("h2", {"class": "record"}, title))
    parts.append(element("p", {"class": "soft"}, machine_text(record)))
    if found:
        parts.append(element("p", {"class": "lead"}, _summary(found[0])))
    tables = [latency_table(entry, measured, entry_title(entry[0])) for entry in found]
    parts += [*tables[:1], *_folded("Other batches, scenarios and sizes", tables[1:])]
    parts += notes(record, measured)
    parts.append(element("h2", NONE, "Speed"))
    parts += _speed(found, measured)
    parts += _accuracy(record, found, pictures)
    parts.append(element("h2", NONE, "Memory, files and start"))
    parts += resources_table(record)
    parts += _limits(record, measured)
    parts.append(element("h2", NONE, "Conditions"))
    parts += [conditions(record), *machine_state(record)]
    return parts


def _summary(entry: Sequence[Row]) -> str:
    """The fastest that passes its gates, against the reference."""
    able = [row for row in entry if not row.faults]
    reference = next((row for row in entry if row.is_reference), None)
    if not able:
        return "No backend passes its accuracy gates."
    best = min(able, key=lambda row: row.latency.median_ms)
    frames = best.measurement.frames_per_query
    query = "frame" if frames == 1 else f"query of {frames} frames"
    figures = f"{best.latency.median_ms:.4g} ms a {query}, {best.frames_per_second:.4g} frames/s"
    if reference is None or best is reference:
        return f"Fastest: {best.title}, {figures}."
    ratio = reference.latency.median_ms / best.latency.median_ms
    return (
        f"Fastest within its accuracy gates: {best.title}, {figures}: {ratio:.1f} times "
        f"{reference.title}, with the same class in {best.agreement_text} of pixels."
    )


def _speed(found: Sequence[Sequence[Row]], measured: Sequence[Row]) -> list[Child]:
    strips = [
        _figure(
            f"Latencies: {entry_title(entry[0])}",
            latency_strips(entry, f"Distribution of latencies, {entry_title(entry[0])}"),
            "Outline: density. Line: from the least to the largest, none left out. Thick tick: "
            "median, its shade the 95 % interval over the rounds; thin tick: p99.",
        )
        for entry in found
    ]
    if not strips:
        return []
    against_latency = _figure(
        "Throughput against latency",
        throughput(measured, "Frames per second against the median latency"),
        "Up and left is better. Letters as in the table; dashes join a backend's batches, "
        "scenarios and sizes, the letter stands at the first.",
    )
    others = [_grid(strips[1:])] if strips[1:] else []
    return [_grid([strips[0], against_latency]), *_folded("Other distributions", others)]


def _accuracy(
    record: Record, found: Sequence[Sequence[Row]], pictures: Pictures | None
) -> list[Child]:
    parts: list[Child] = [element("h2", NONE, "Accuracy")]
    figures = []
    for entry in found[:1]:
        drawn = accuracy_against_speed(entry, "Accuracy against the median latency")
        if drawn is not None:
            front = ", ".join(row.key for row in pareto_front(entry))
            caption = (
                "Up and left is better. Letters as in the table. On the Pareto front (outlined, "
                f"joined): {front or 'none'}."
            )
            figures.append(_figure("Accuracy against speed", drawn, caption))
    parts.append(_grid(figures))
    parts += iou_table(record)
    parts += overlays(record, pictures)
    return parts


def _limits(record: Record, measured: Sequence[Row]) -> list[Child]:
    """How far from the machine's limit: a bar for each backend, and the layers where known."""
    known = list({row.key: row for row in reversed(measured) if row.result.roofline}.values())[::-1]
    if not known:
        return []
    shares = [(row, 100 * row.result.roofline.share) for row in known if row.result.roofline]
    figures = [
        _figure(
            "Share of the machine's limit",
            percentages(shares, "Share of the roofline's limit by backend"),
            "The limit: all multiply-accumulates at the speed of a large matrix product, or all "
            "frames, masks and weights at the speed of a large copy, whichever takes longer.",
        )
    ]
    tables: list[Child] = []
    for row in known:
        peak = peak_for(record.peaks, row.result.device, row.result.precision)
        drawn = layer_roofline(row, peak, f"Layers of {row.title}") if peak else None
        if drawn is not None and peak is not None:
            caption = "Circles are layers, their area is time. Line: the machine's measured limit."
            figures.append(_figure(f"Layers of {row.title}", drawn, caption))
            tables.append(layer_table(row, peak))
    return [element("h2", NONE, "How near to the machine's limit"), _grid(figures), *tables]


def _folded(title: str, parts: Sequence[Child]) -> list[Child]:
    return [element("details", NONE, element("summary", NONE, title), *parts)] if parts else []


def _grid(figures: Sequence[Element]) -> Element:
    return element("div", {"class": "grid"}, *figures)


def _figure(title: str, drawn: Element, caption: str) -> Element:
    return element(
        "figure",
        NONE,
        element("h3", NONE, title),
        drawn,
        element("figcaption", NONE, caption),
    )
