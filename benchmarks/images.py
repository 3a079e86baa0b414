"""The real images that every backend gets, at the one size that all of them take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.backends import Candidate
from refinenet.data.datasets import LabelledImages, open_dataset
from runtime.card import Card
from runtime.errors import InputError
from runtime.files import existing_file
from runtime.frames import Frame, list_images, read_frame
from runtime.resize import fit

# Enough for content not to matter to the latency, few enough to lie decoded in memory.
MAX_TIMED_FRAMES = 20


@dataclass(frozen=True)
class Labels:
    """Where labelled images lie, see refinenet.data.datasets."""

    dataset: str
    root: Path
    split: str


@dataclass(frozen=True)
class Inputs:
    """The images, and the labelled ones if there are any.

    geometry: a card with the size at which frames go in and how they get there.
    """

    files: tuple[Path, ...]
    labelled: LabelledImages | None
    geometry: Card

    def frames(self) -> Iterator[Frame]:
        """One frame after the other, (H, W, 3) uint8 BGR at the models' size."""
        return (fit(read_frame(file), self.geometry) for file in self.files)

    def timed_frames(self) -> NDArray[np.uint8]:
        """Some of them, decoded and resized before the clock starts: (N, H, W, 3) uint8 BGR."""
        chosen = [self.files[index] for index in spread(len(self.files), MAX_TIMED_FRAMES)]
        return np.stack([fit(read_frame(file), self.geometry) for file in chosen])


def open_inputs(
    images: Path | None, labels: Labels | None, limit: int | None, geometry: Card
) -> Inputs:
    """Find the images.

    images: a file or a folder; None takes the labelled images.
    limit: at most so many images, and so many labelled ones; None takes all.

    Raises InputError without any image, or for labels with other classes than the models'.
    """
    labelled = None
    if labels is not None:
        labelled = open_dataset(labels.dataset, labels.root, labels.split)
        known, expected = len(geometry.classes), len(labelled.dataset.classes)
        if known != expected:
            raise InputError(
                f"{labels.dataset} has {expected} classes and the models have {known}; give the "
                "data that they were trained on"
            )
        pairs = labelled.pairs
        labelled = replace(labelled, pairs=tuple(pairs[i] for i in spread(len(pairs), limit)))
    if images is not None:
        return Inputs(_image_files(images, limit), labelled, geometry)
    if labelled is not None:
        return Inputs(tuple(image for image, _ in labelled.pairs), labelled, geometry)
    raise InputError("no images to measure on; give real ones: --images FILE_OR_FOLDER")


def _image_files(path: Path, limit: int | None) -> tuple[Path, ...]:
    files = list_images(path) if path.is_dir() else [existing_file(path)]
    return tuple(files[index] for index in spread(len(files), limit))


def spread(count: int, limit: int | None) -> list[int]:
    """At most `limit` indices below `count`, evenly spaced: neighbours in a folder are often
    neighbouring frames of one video, and say the same thing twice."""
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]


def common_geometry(candidates: Sequence[Candidate], size: tuple[int, int] | None) -> Card:
    """A card with the one frame size, classes and resize policy that all models share.

    size: (height, width) for models that take any.

    Raises InputError where the models contradict each other or `size`, where one of them takes
    another batch than one, or where no size is known.
    """
    models = [entry for entry in candidates if entry.card.input_shape is not None]  # not weights
    for model in models:
        own_size, batch = model.card.frame_size, (model.card.input_shape or (None,))[0]
        if batch not in (None, 1):
            raise InputError(
                f"{model.file} takes {batch} frames at a time; a single stream has one. "
                "Export it with --batch 1"
            )
        if size and own_size and own_size != size:
            raise InputError(
                f"{model.file} takes frames of {own_size[0]}x{own_size[1]}; expected "
                f"{size[0]}x{size[1]}, as the others or --size. Benchmark sizes apart"
            )
        size = size or own_size
    if not models or size is None:
        raise InputError("the models take frames of any size; choose one, such as --size 360x480")
    _check_alike(candidates, "classes")
    _check_alike(models, "resize_policy")
    return replace(models[0].card, input_shape=(1, *size, 3))


def _check_alike(candidates: Sequence[Candidate], entry: str) -> None:
    first = candidates[0]
    for other in candidates[1:]:
        if getattr(other.card, entry) != getattr(first.card, entry):
            raise InputError(
                f"{first.file} and {other.file} have different {entry}, so their masks cannot be "
                "compared; give models of one network, and the weights they were exported from"
            )
