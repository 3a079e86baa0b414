"""What labelled images do not say by themselves: classes without a pixel, and the likely cause."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from refinenet.data.datasets import LabelledImages
from refinenet.data.labels import read_classes
from refinenet.data.layout import Dataset
from runtime.errors import InputError
from runtime.photo import UPRIGHT, orientation, turned_note

MOST_IDS_SHOWN = 12
TURNED = (
    "the labels have to be drawn on the turned images. If they are drawn on the pixels as they "
    'lie, say "exif": "ignore" in a description'
)


def training_notes(images: LabelledImages, *, quiet: bool = False) -> list[str]:
    """What to know before a training: classes without a pixel, images that EXIF turns.

    Labels are read until every class was seen, which is soon in ordinary data.

    Raises InputError for a label that cannot be used.
    """
    dataset, pixels = images.dataset, np.zeros(256, np.int64)
    # None: shown on a terminal only, where it takes longer than two seconds
    labels = tqdm(images.pairs, "labels", leave=False, unit="label", delay=2, disable=quiet or None)
    for _, label in labels:
        try:
            pixels += np.bincount(read_classes(label, dataset).ravel(), minlength=256)
        except InputError as error:
            raise InputError(
                f"{error}. refinenet data check finds all such faults, and the id_map that fits "
                "other ids"
            ) from error
        if pixels[: len(dataset.classes)].all():
            break
    turned = [
        image for image, _ in images.pairs if dataset.turned and orientation(image) != UPRIGHT
    ]
    return [*absent_classes(dataset, pixels, np.zeros(256, np.int64)), *turned_note(turned, TURNED)]


def absent_classes(
    dataset: Dataset, pixels: NDArray[np.int64], unknown: NDArray[np.int64]
) -> list[str]:
    """A line for the classes without a pixel, with the likely cause and what mends it, or none.

    pixels: by class id, once the ids are mapped, (256,). unknown: pixels by an id of the files
    that means nothing, (256,).
    """
    absent = [name for i, name in enumerate(dataset.classes) if not pixels[i]]
    if not absent and not unknown.any():
        return []
    ignored = int(pixels[dataset.ignore_id])
    total = int(pixels.sum() + unknown.sum())
    notes = [f"no pixel has the class {', '.join(absent)}"] if absent else []
    if dataset.id_map:
        return notes
    found = [int(i) for i in np.flatnonzero(pixels + unknown)]
    if absent and ignored:
        notes.append(
            f"{ignored / total:.0%} of the pixels have the id {dataset.ignore_id}, which is "
            "ignored: they count neither in training nor in evaluation"
        )
    if unknown.any():
        ids = ", ".join(str(i) for i in np.flatnonzero(unknown))
        notes.append(f"{unknown.sum() / total:.0%} of the pixels have ids that no class has: {ids}")
    if fitting := _fitting_map(dataset, found, strange=bool(unknown.any())):
        pairs = ", ".join(f'"{i}": {class_id}' for i, class_id in fitting.items())
        notes.append(
            f"the masks hold the ids {_shown(found)}; if these stand for the classes in that "
            f'order, say so in the description: "id_map": {{{pairs}}}'
        )
    elif absent:
        notes.append(f"the masks hold the ids {_shown(found)}")
    return ["; ".join(notes)]


def _shown(ids: Sequence[int]) -> str:
    rest = len(ids) - MOST_IDS_SHOWN
    return ", ".join(map(str, ids[:MOST_IDS_SHOWN])) + (f" and {rest} more" if rest > 0 else "")


def _fitting_map(dataset: Dataset, found: Sequence[int], *, strange: bool) -> dict[int, int]:
    """What each id probably stands for; empty where nothing is probable.

    strange: whether some of the ids mean nothing. Where all mean something, the masks are probably
    right, but for two classes that are drawn as 0 and 255.
    """
    count, ignore_id = len(dataset.classes), dataset.ignore_id
    if not strange and (count != 2 or ignore_id not in found):
        return {}
    if len(found) == count:
        return {i: class_id for class_id, i in enumerate(found)}
    if len(found) != count + 1:
        return {}
    if found[-1] in (255, ignore_id):  # the usual id of what has no class
        return {**{i: class_id for class_id, i in enumerate(found[:-1])}, found[-1]: ignore_id}
    if found[0] == 0:
        return {0: ignore_id, **{i: class_id for class_id, i in enumerate(found[1:])}}
    return {}
