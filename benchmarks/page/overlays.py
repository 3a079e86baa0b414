"""PyTorch's mask over each frame, and beside it where each backend saw something else."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from benchmarks.page.elements import NONE, Child, element
from benchmarks.page.sections import badge, kinds_of
from benchmarks.pictures import Picture, Pictures
from benchmarks.records.record import Record
from benchmarks.rows import keys_of, names_of
from runtime.app.overlay import blend
from runtime.frames import Frame, Mask

SHOWN_WIDTH = 480  # of a picture in the page, in pixels
QUALITY = 80  # of its JPEG
FADE = 0.35
RED = (60, 60, 255)  # BGR
MARGIN = 1  # pixels that differ grow by so much, or single ones would not be seen


def overlays(record: Record, pictures: Pictures | None) -> list[Child]:
    """A row of pictures for each frame; a line that says how to get them where there are none."""
    heading = element("h3", NONE, "What they saw")
    if pictures is None:
        how = "No pictures beside this record: measure with --pictures to keep some."
        return [heading, element("p", {"class": "soft"}, how)]
    keys = keys_of(record.results)
    reference = next(
        (
            k
            for k, r in zip(keys, record.results, strict=True)
            if r.name == record.conditions.reference
        ),
        keys[0],
    )
    said = (
        "The frame, the reference's mask over it, and each backend's mask, faded, with the pixels "
        "in red whose class differs from the reference's (made one pixel wider)."
    )
    parts: list[Child] = [heading, element("p", {"class": "soft"}, said)]
    for picture in pictures.pictures:
        parts.append(
            element("div", {"class": "pictures"}, *_row(record, picture, pictures, reference))
        )
    return parts


def _row(record: Record, picture: Picture, pictures: Pictures, reference: str) -> list[Child]:
    palette = [(int(red), int(green), int(blue)) for red, green, blue in pictures.palette]
    expected = picture.masks.get(reference)
    shown: list[Child] = [_figure(picture.frame, "the frame", [])]
    keys, names, kinds = keys_of(record.results), names_of(record.results), kinds_of(record)
    for key, name, kind, result in zip(keys, names, kinds, record.results, strict=True):
        mask = picture.masks.get(key)
        if mask is None:
            continue
        title = f"{name} {result.precision}"
        label: list[Child] = [badge(key, kind), title]
        overlay = blend(picture.frame, mask, palette)
        if key != reference and expected is not None:
            differing = mask != expected
            overlay = _with_differences(overlay, differing)
            count = int(np.count_nonzero(differing))
            label.append(f": {count} of {mask.size} pixels differ")
        shown.append(_figure(overlay, f"{title}: mask over the frame", label))
    return shown


def _with_differences(overlay: Frame, differing: Mask) -> Frame:
    """The overlay faded to grey, what differs in red."""
    grey = cv2.cvtColor(cv2.cvtColor(overlay, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    faded = cv2.addWeighted(overlay, FADE, grey, 1 - FADE, 0)
    size = 2 * MARGIN + 1
    wider = cv2.dilate(differing.astype(np.uint8), np.ones((size, size), np.uint8))
    faded[wider > 0] = RED
    return np.asarray(faded, np.uint8)


def _figure(picture: Frame, alternative: str, label: list[Child]) -> Child:
    caption = element("figcaption", NONE, *(label or [alternative]))
    return element(
        "figure", NONE, element("img", {"src": _data(picture), "alt": alternative}), caption
    )


def _data(picture: Frame) -> str:
    """The picture as a data URI, no wider than it is shown."""
    height, width = picture.shape[:2]
    if width > SHOWN_WIDTH:
        size = SHOWN_WIDTH, max(1, round(height * SHOWN_WIDTH / width))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, encoded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
