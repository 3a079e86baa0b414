"""The real images that every backend gets, at the one size that all of them take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.backends.backend import Candidate
from refinenet.data.datasets import LabelledImages, open_dataset
from runtime.card import Card
from runtime.errors import InputError
from runtime.files import existing_file
from runtime.frames import Frame, Mask, list_images, read_frame
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
class Sample:
    """One image for the backends' masks to be judged on.

    frame: (H, W, 3) uint8 BGR as it goes in. label: (H', W') uint8 at the image's own size,
    or None.
    compared: whether the masks are held against the reference's.
    """

    frame: Frame
    label: Mask | None
    compared: bool


@dataclass(frozen=True)
class Inputs:
    """The images, and the labelled ones if there are any; often the same ones."""

    files: tuple[Path, ...]
    labelled: LabelledImages | None

    @property
    def sample_count(self) -> int:
        return len(self.files) + len(self._only_labelled())

    def samples(self, geometry: Card) -> Iterator[Sample]:
        """One after the other, each image read once.

        geometry: a card with the size at which frames go in and how they get there.
        """
        pairs = {} if self.labelled is None else {p[0]: i for i, p in self._numbered()}
        for file in self.files:
            if file in pairs and self.labelled is not None:
                frame, label = self.labelled.read(pairs[file])
                yield Sample(fit(frame, geometry), label, compared=True)
            else:
                yield Sample(fit(read_frame(file), geometry), None, compared=True)
        for index in self._only_labelled():
            assert self.labelled is not None
            frame, label = self.labelled.read(index)
            yield Sample(fit(frame, geometry), label, compared=False)

    def _numbered(self) -> list[tuple[int, tuple[Path, Path]]]:
        return [] if self.labelled is None else list(enumerate(self.labelled.pairs))

    def _only_labelled(self) -> list[int]:
        files = set(self.files)
        return [index for index, (image, _) in self._numbered() if image not in files]

    def timed_files(self) -> list[Path]:
        """Some of the images: enough for content not to matter to the latency."""
        return [self.files[index] for index in spread(len(self.files), MAX_TIMED_FRAMES)]

    def timed_frames(self, geometry: Card) -> NDArray[np.uint8]:
        """They, decoded and resized before the clock starts: (N, H, W, 3) uint8 BGR."""
        return np.stack([fit(read_frame(file), geometry) for file in self.timed_files()])


def open_inputs(
    images: Path | None, labels: Labels | None, limit: int | None, classes: Sequence[str]
) -> Inputs:
    """Find the images.

    images: a file or a folder; None takes the labelled images.
    limit: at most so many images, and so many labelled ones; None takes all.
    classes: of the models.

    Raises InputError without any image, or for labels with other classes than the models'.
    """
    labelled = None
    if labels is not None:
        labelled = open_dataset(labels.dataset, labels.root, labels.split)
        known, expected = len(classes), len(labelled.dataset.classes)
        if known != expected:
            raise InputError(
                f"{labels.dataset} has {expected} classes and the models have {known}; give the "
                "data that they were trained on"
            )
        pairs = labelled.pairs
        labelled = replace(labelled, pairs=tuple(pairs[i] for i in spread(len(pairs), limit)))
    if images is not None:
        return Inputs(_image_files(images, limit), labelled)
    if labelled is not None:
        return Inputs(tuple(image for image, _ in labelled.pairs), labelled)
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


def common_geometries(
    candidates: Sequence[Candidate], batches: Sequence[int], sizes: Sequence[tuple[int, int]]
) -> tuple[Card, ...]:
    """A card for each frame size, with the classes and the resize policy that all models share.

    sizes: (height, width); if empty, those that the models were exported for.

    Raises InputError where a model takes none of the batches or of the sizes, where the models are
    of different classes or resize policies, or where no size is known.
    """
    models = [entry for entry in candidates if entry.card.input_shape is not None]  # not weights
    own_sizes = [entry.card.frame_size for entry in models]
    sizes = sizes or list(dict.fromkeys(size for size in own_sizes if size is not None))
    if not models or not sizes:
        raise InputError("the models take frames of any size; choose one, such as --size 360x480")
    for model, own_size in zip(models, own_sizes, strict=True):
        if model.batch not in (None, *batches):
            raise InputError(
                f"{model.file} takes {model.batch} frames at a time; expected "
                f"{_one_of(str(batch) for batch in batches)}. Give --batch {model.batch} with "
                "--scenario offline, or export it with --batch 1"
            )
        if own_size not in (None, *sizes):
            raise InputError(
                f"{model.file} takes frames of {_text(own_size)}; expected "
                f"{_one_of(_text(size) for size in sizes)}, as --size says"
            )
        for height, width in sizes:
            if height % (multiple := model.card.size_multiple) or width % multiple:
                raise InputError(
                    f"{model.file} takes frames whose sides are multiples of {multiple}; "
                    f"{height}x{width} is none of them. Give another --size"
                )
    _check_alike(candidates, "classes")
    _check_alike(models, "resize_policy")
    return tuple(replace(models[0].card, input_shape=(None, *size, 3)) for size in sizes)


def _text(size: tuple[int, int] | None) -> str:
    return "any size" if size is None else f"{size[0]}x{size[1]}"


def _one_of(words: Iterable[str]) -> str:
    return " or ".join(words)


def _check_alike(candidates: Sequence[Candidate], entry: str) -> None:
    first = candidates[0]
    for other in candidates[1:]:
        if getattr(other.card, entry) != getattr(first.card, entry):
            raise InputError(
                f"{first.file} and {other.file} have different {entry}, so their masks cannot be "
                "compared; give models of one network, and the weights they were exported from"
            )
