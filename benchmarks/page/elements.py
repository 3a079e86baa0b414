"""HTML and SVG as a tree, so that text can never become markup: the serializer escapes it all."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

Child = Element | str
Attributes = Mapping[str, str | float | int]

NONE: Attributes = {}
# Controls, format characters (which can turn the reading direction), surrogates, unassigned.
UNPRINTABLE = ("Cc", "Cf", "Cs", "Cn")


def element(tag: str, attributes: Attributes = NONE, *children: Child) -> Element:
    """An element with its attributes and children; numbers are written with two decimals."""
    made = Element(tag, {name: _attribute(value) for name, value in attributes.items()})
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif last is None:
            made.text = (made.text or "") + printable(child)
        else:
            last.tail = (last.tail or "") + printable(child)
    return made


def document(root: Element) -> str:
    """The page's text."""
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html")


def printable(text: str) -> str:
    """The text, with a visible sign for what cannot be seen or would turn its direction."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if unicodedata.category(character) in UNPRINTABLE and character not in "\n\t"
        else character
        for character in text
    )


def table(
    head: list[Child], body: list[list[Child]], caption: str, row_classes: list[str] | None = None
) -> Element:
    """A table that scrolls by itself where the screen is narrow; the first cell heads its row."""
    classes = row_classes or [""] * len(body)
    rows = [
        element(
            "tr",
            {"class": name} if name else NONE,
            *(
                element("td", NONE, cell) if index else element("th", {"scope": "row"}, cell)
                for index, cell in enumerate(cells)
            ),
        )
        for cells, name in zip(body, classes, strict=True)
    ]
    made = element(
        "table",
        NONE,
        element("caption", NONE, caption),
        element("thead", NONE, element("tr", NONE, *(_head(cell) for cell in head))),
        element("tbody", NONE, *rows),
    )
    # Focusable, so that the keyboard can scroll it too.
    return element(
        "div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": caption}, made
    )


def _head(cell: Child) -> Element:
    return element("th", {"scope": "col"}, cell)


def _attribute(value: str | float | int) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return printable(str(value))
