"""The few charts of the page, as inline SVG: scales, axes, marks that carry their letter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from benchmarks.page.elements import NONE, Attributes, Child, element

# In the units of the viewBox. A phone shows them at three quarters, a wide screen at one.
WIDTH, HEIGHT = 460.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 16.0, 14.0, 44.0
MARK_RADIUS = 9.0
LABEL_LENGTH = 50  # in letters, beside a figure in a chart's width
LOG_FROM = 4.0  # a range whose ends differ by more is drawn on a logarithmic scale


@dataclass(frozen=True)
class Scale:
    """From values to places along one axis. start, end: the places of low and high."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high = self._of(self.low), self._of(self.high)
        return self.start + (self._of(value) - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round values within the range: 1, 2 and 5 times powers of ten."""
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = (1, 2, 5) if last - first <= 3 else (1,)
            found = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        else:
            step = _round_step((self.high - self.low) / count)
            begin = math.ceil(self.low / step - 1e-9)
            found = [index * step for index in range(begin, begin + 2 * count + 2)]
        slack = 1e-9 * abs(self.high)
        return [value for value in found if self.low - slack <= value <= self.high + slack]

    def _of(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.logarithmic else value


def scale_for(values: Sequence[float], start: float, end: float, margin: float = 0.08) -> Scale:
    """A scale that holds all values with some room around them; logarithmic for wide ranges."""
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_FROM:
        room = (high / low) ** margin
        return Scale(low / room, high * room, start, end, logarithmic=True)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return Scale(low - room, high + room, start, end)


@dataclass(frozen=True)
class Mark:
    """One point.

    letter: drawn in it; a mark without one is a dot. kind: a class of the style sheet.
    note: its tooltip.
    """

    x: float
    y: float
    letter: str
    kind: str
    note: str


def scatter(
    marks: Sequence[Mark],
    axes: tuple[str, str],
    title: str,
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]] = (),
) -> Element:
    """Marks in a plane. axes: what runs to the right and upwards. lines: a class and its points."""
    x = scale_for([mark.x for mark in marks], LEFT, WIDTH - RIGHT)
    y = scale_for([mark.y for mark in marks], HEIGHT - BOTTOM, TOP)
    drawn = [x_axis(x, HEIGHT - BOTTOM, axes[0]), y_axis(y, axes[1])]
    drawn += [_line(kind, points, x, y) for kind, points in lines]
    drawn += _placed(marks, x, y)
    return chart(title, HEIGHT, drawn)


def chart(title: str, height: float, drawn: Sequence[Child]) -> Element:
    """An image to assistive technology, with the title as its name."""
    return element(
        "svg",
        {"viewBox": f"0 0 {WIDTH:g} {height:g}", "role": "img", "aria-label": title},
        element("title", NONE, title),
        *drawn,
    )


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> Element:
    return element("text", {"x": x, "y": y, "class": kind, "text-anchor": anchor}, content)


def shortened(label: str, most: int = LABEL_LENGTH) -> str:
    """The label, its middle left out where it would run into what stands beside it."""
    if len(label) <= most:
        return label
    kept = most - 1
    return f"{label[: kept // 3]}…{label[len(label) - (kept - kept // 3) :]}"


def segment(x1: float, y1: float, x2: float, y2: float, kind: str) -> Element:
    return element("line", {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": kind})


def box(x: float, y: float, width: float, height: float, kind: str, note: str = "") -> Element:
    place: dict[str, str | float | int] = {"x": x, "y": y, "height": height, "class": kind}
    return element("rect", {**place, "width": max(width, 0.5)}, element("title", NONE, note))


def short(value: float) -> str:
    """Four digits at most: 0.012, 1.5, 120, 1.2k, 3.4M."""
    for limit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if suffix == 'k' else limit):.3g}{suffix}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def x_axis(scale: Scale, y: float, label: str) -> Element:
    """Ticks, grid lines and the label below marks that end at y."""
    ticks = [
        part
        for value in scale.ticks()
        for part in (
            segment(scale(value), TOP, scale(value), y, "grid"),
            text(scale(value), y + 15, short(value), "tick", "middle"),
        )
    ]
    name = text((scale.start + scale.end) / 2, y + 34, label, "axis", "middle")
    return element("g", NONE, *ticks, segment(scale.start, y, scale.end, y, "frame"), name)


def y_axis(scale: Scale, label: str) -> Element:
    """The same at the left, of a chart of the usual height."""
    ticks = [
        part
        for value in scale.ticks()
        for part in (
            segment(LEFT, scale(value), WIDTH - RIGHT, scale(value), "grid"),
            text(LEFT - 6, scale(value) + 4, short(value), "tick", "end"),
        )
    ]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned: Attributes = {"x": 14, "y": middle, "class": "axis", "text-anchor": "middle"}
    name = element("text", {**turned, "transform": f"rotate(-90 14 {middle:g})"}, label)
    return element("g", NONE, *ticks, segment(LEFT, TOP, LEFT, HEIGHT - BOTTOM, "frame"), name)


def _line(kind: str, points: Sequence[tuple[float, float]], x: Scale, y: Scale) -> Element:
    path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in points)
    return element("polyline", {"points": path, "class": kind})


def _placed(marks: Sequence[Mark], x: Scale, y: Scale) -> list[Element]:
    """The marks, moved apart where they would cover each other, each tied to its own place."""
    taken: list[tuple[float, float]] = []
    drawn = []
    for mark in sorted(marks, key=lambda mark: mark.letter != ""):
        here = x(mark.x), y(mark.y)
        if not mark.letter:
            drawn.append(_dot(mark, here))
            continue
        place = next((spot for spot in _spots(here) if _is_free(spot, taken)), here)
        taken.append(place)
        drawn.append(_mark(mark, here, place))
    return drawn


def _spots(here: tuple[float, float]) -> list[tuple[float, float]]:
    """The point itself, then rings of places around it, those within the chart."""
    spots = [here]
    for ring in range(1, 40):
        distance = ring * MARK_RADIUS
        for step in range(8):
            angle = math.pi * (step / 4 - 0.5)
            spot = here[0] + distance * math.cos(angle), here[1] + distance * math.sin(angle)
            inside = LEFT + MARK_RADIUS <= spot[0] <= WIDTH - MARK_RADIUS
            if inside and MARK_RADIUS <= spot[1] <= HEIGHT - BOTTOM - MARK_RADIUS:
                spots.append(spot)
    return spots


def _is_free(spot: tuple[float, float], taken: Sequence[tuple[float, float]]) -> bool:
    return all(math.dist(spot, other) >= 2 * MARK_RADIUS for other in taken)


def _mark(mark: Mark, here: tuple[float, float], place: tuple[float, float]) -> Element:
    tie = []
    if here != place:
        tie = [
            segment(*here, *place, "tie"),
            element("circle", {"cx": here[0], "cy": here[1], "r": 2.5, "class": mark.kind}),
        ]
    return element(
        "g",
        NONE,
        element("title", NONE, mark.note),
        *tie,
        element("circle", {"cx": place[0], "cy": place[1], "r": MARK_RADIUS, "class": mark.kind}),
        text(place[0], place[1] + 4, mark.letter, "letter", "middle"),
    )


def _dot(mark: Mark, here: tuple[float, float]) -> Element:
    place: Attributes = {"cx": here[0], "cy": here[1], "r": 3.5, "class": mark.kind}
    return element("circle", place, element("title", NONE, mark.note))


def _round_step(step: float) -> float:
    """The next of 1, 2, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
