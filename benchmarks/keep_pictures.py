"""Keep what the backends see, while they are open: for the page, beside the record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.accuracy import mask_of
from benchmarks.backends.backend import reason_of
from benchmarks.backends.entrants import Entrant, running
from benchmarks.images import Inputs, spread
from benchmarks.pictures import Picture, Pictures, write_pictures
from benchmarks.rows import keys_of
from runtime.card import Card
from runtime.frames import Frame

FRAMES = 3


def keep_pictures(
    path: Path, entrants: Sequence[Entrant], inputs: Inputs, geometry: Card, utc: str
) -> None:
    """Write some of the frames at this size, and the mask of every backend that takes them.

    utc: of the record, by which it knows its pictures again.

    Raises InputError if the file cannot be written.
    """
    frames = inputs.timed_frames(geometry)  # (N, H, W, 3)
    keys = dict(zip(keys_of(entrants), entrants, strict=True))
    pictures = tuple(
        _picture(frames[index], keys, geometry) for index in spread(len(frames), FRAMES)
    )
    write_pictures(path, Pictures(np.array(geometry.palette, np.uint8), pictures), utc)


def _picture(frame: Frame, entrants: dict[str, Entrant], geometry: Card) -> Picture:
    masks = {}
    for key, entrant in entrants.items():
        if not running([entrant]) or entrant.candidate.card.frame_size not in (
            None,
            geometry.frame_size,
        ):
            continue
        try:
            masks[key] = mask_of(entrant.judged, frame)
        except Exception as error:
            entrant.error = reason_of(error)
    return Picture(frame, masks)
